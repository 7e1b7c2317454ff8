"""All rows as a stream that knows no engine: read of one snapshot, loaded whole or not at all."""

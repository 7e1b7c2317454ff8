"""What the registry knows: records, small protocols by noun, and their SQL."""

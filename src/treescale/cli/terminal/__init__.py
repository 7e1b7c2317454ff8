"""What all commands share: where the cluster is, tables and lines and JSON, the nearest command."""

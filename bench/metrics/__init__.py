"""What it costs to count for `/metrics`."""

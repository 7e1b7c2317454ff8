"""What people, scripts and `/api/v1` are told of a cluster: rows, and what their values are."""

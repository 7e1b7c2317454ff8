"""What is counted, and the page for Prometheus. It lies on the ground and imports no other room."""

"""What a server says of itself and its cluster on the page for Prometheus."""

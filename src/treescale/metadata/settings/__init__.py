"""What all servers go by."""

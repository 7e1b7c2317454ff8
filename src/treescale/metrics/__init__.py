"""What is counted. It lies on the ground and imports no other room."""

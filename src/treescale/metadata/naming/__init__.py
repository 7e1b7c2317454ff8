"""What repositories are called, and what they say of themselves."""

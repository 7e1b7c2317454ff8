"""What repositories and namespaces hold, and when it was pulled: kept, not summed when asked."""

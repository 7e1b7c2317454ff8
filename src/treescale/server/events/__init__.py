"""What tells of the log of events within a server and between servers."""

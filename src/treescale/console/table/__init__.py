"""The table of all there is, and both ways to it: requests by HTTP, and commands in process."""

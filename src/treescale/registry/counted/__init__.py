"""What is counted: in memory of requests, and written once a minute; and of what namespaces have."""

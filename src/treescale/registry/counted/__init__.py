"""What is counted: requests, in memory, written once a minute; and what namespaces have."""

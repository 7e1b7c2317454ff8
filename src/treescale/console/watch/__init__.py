"""The cluster as it is now, for whoever looks on: cheap to ask, and asked only then."""

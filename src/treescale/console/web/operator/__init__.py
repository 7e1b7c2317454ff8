"""The pages of whoever runs the cluster, and of an image across it."""

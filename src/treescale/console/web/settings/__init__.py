"""Pages of what repositories and namespaces are set to, and of who may do what there."""

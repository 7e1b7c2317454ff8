"""Pages of what the registry holds: home, search, namespaces, repositories, images."""

"""Where a server listens, under which names and certificates, and whether others find it there."""

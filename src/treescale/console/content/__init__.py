"""What answers for what repositories hold: images, tags, copies, moves, what was deleted."""

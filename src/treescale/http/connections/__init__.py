"""One connection: who is let in, its first byte, how long it may take, and files sent on it."""

"""Bodies of uploads, read from the socket into the memory they are wanted in."""

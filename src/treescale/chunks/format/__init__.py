"""What a chunk is, where a blob is cut, what its recipe says and where its chunks belong. Pure."""

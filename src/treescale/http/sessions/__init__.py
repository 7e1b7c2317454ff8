"""Sessions of browsers on the wire: their cookie, and who may use it for what."""

"""The client's address and our origin behind trusted proxies."""

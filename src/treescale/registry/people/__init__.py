"""People: their sessions, one-time links, what is done to their accounts, sign-on by providers."""

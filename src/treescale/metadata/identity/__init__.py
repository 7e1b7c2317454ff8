"""How people come in: what may be done to accounts, sessions, one-time links, sign-on."""

"""Whoever is no user: robots, and issuers whose ID tokens are believed."""

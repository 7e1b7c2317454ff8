"""Issuers of ID tokens: whom an administrator allows, and the keys that they publish."""

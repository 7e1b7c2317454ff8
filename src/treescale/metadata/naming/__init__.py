"""Repositories that come to be called otherwise."""

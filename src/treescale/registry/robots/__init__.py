"""Robots: what administration does with them, and how they log in."""

"""Requests of ours to addresses that others chose: one client for all of them.

`networks` decides which addresses may be asked (pure), `client` asks. Nothing else in the server
opens a connection to a URL that somebody has set (`tests/outbound/test_alone.py`).
"""

"""Composes and runs a server: its processes, stores, addresses, background work.

It alone names concrete classes: every other room is handed what it needs. Nothing here knows what a
request means.
"""

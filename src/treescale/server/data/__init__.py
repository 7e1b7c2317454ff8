"""The data directories of a server, the stores in them, and the database that they belong to.

Looked at before anything is written: a disk that is away must not look like an empty one.
"""

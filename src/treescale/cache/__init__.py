"""Answers kept for speed and for an outage of the database.

`answers` remembers them; `exchange` asks other processes for theirs, only while the database is
away.
"""

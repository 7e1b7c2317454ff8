"""The hosts a PostgreSQL may be on: as a URL has them, how one is reached, what it has room for.

Nothing here knows of transactions, pools or tables.
"""

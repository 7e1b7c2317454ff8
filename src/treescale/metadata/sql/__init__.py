"""The metadata protocols in SQL, the same statements on SQLite and PostgreSQL.

One file per noun; statements are module constants, so each is compiled once per process.
`connections` runs them, `faults` says what a driver's error means, `address` reads URLs.
"""

from treescale.metadata.sql.database import SqlDatabase, open_database

__all__ = ["SqlDatabase", "open_database"]

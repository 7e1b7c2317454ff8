"""What the registry knows: one file per noun, whose class with the SQL is its interface.

The statements are the same on SQLite and PostgreSQL, and module constants, so each is compiled once
per process. `database` has all nouns on one database; `engine` runs the statements.
"""

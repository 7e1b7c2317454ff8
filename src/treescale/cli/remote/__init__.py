"""Servers that commands ask by HTTP, in place of the database; and who one is there."""

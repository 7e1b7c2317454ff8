"""One file per part of the table; each has `measure(root, effort) -> list[Row]` and runs alone."""

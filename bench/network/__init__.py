"""Several servers in network namespaces, beside one docker-registry behind the same kind of wire.

One file per part of the table; each has `measure(root, effort) -> list[Row]` and runs alone.
"""

"""What the walk of a store costs by itself: reading back, and looking where nothing is to be done.

One file per part; each has `measure(root, effort) -> list[Row]` and runs alone.
"""

"""Under which names images are: copies, moves, and what is nearest to a name that is none."""

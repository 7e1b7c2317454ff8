"""`treescale backup` and `treescale restore`, and what both take."""

"""What happened, as rows: recorded with the change, numbered once committed, read in order."""

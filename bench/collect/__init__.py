"""What collection costs: what it takes away, looks that find nothing, and clients beside it."""

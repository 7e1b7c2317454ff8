"""What is to be done, and what was found, decided without touching anything (PURE)."""

"""Rules for tags as values and rows, and what immutable tags are kept from."""

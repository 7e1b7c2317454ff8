"""What ends as free space: rows that nothing needs any more, and what can still be restored."""

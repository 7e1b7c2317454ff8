"""What events cost: recording them with a push, and telling them to many."""

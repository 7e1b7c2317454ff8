"""What answers for accounts and what they log in with."""

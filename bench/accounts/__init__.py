"""Logins, policy and lists among many accounts, beside the same among few."""

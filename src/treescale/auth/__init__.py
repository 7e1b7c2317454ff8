"""Who may do what: scopes, policy, tokens, passwords, and how guessing is made slow.

Decisions take values and return values; no HTTP and no database. Who asks and what they hold is
found out elsewhere.
"""

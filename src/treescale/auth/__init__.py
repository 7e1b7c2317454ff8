"""Who may do what: scopes, policy, tokens, passwords. No HTTP and no database."""

"""Who there is: accounts, access tokens, organisations."""

"""Who comes in, and how: people's sessions, links and sign-on; robots and the issuers that vouch for them."""

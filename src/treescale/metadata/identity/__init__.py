"""Who comes in, and how: people, with sessions, links and sign-on; robots, and issuers."""

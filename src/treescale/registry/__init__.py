"""What the registry does: push, pull, tags, referrers, login. No HTTP, no SQL, no socket."""

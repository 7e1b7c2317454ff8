"""What the registry does: push, pull, tags, referrers, login. No HTTP, no SQL, no socket.

Nothing is acknowledged before it is durable, and nobody is told of what they may not see.
"""

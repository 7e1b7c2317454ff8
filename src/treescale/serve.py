"""Starting a server: one supervisor that owns the port, and workers that share it.

The supervisor prepares what must be prepared once (stores, schema, the first account), binds the
port, and keeps the workers alive; it never touches a request. Workers are equal: each accepts from
the same listening socket and can continue whatever another began. A worker dies with its
supervisor, so killing one process by its pid stops the server at once.
This file alone names concrete classes.
"""

"""What the rooms that serve HTTP share: connections, limits, callers, bodies, one door for errors.

It knows no route's handler.
"""

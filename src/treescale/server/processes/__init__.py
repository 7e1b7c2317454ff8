"""Processes of a server: started, restarted and ended by one supervisor; how each begins and ends.

Nothing here knows what a process does.
"""

"""A store in a directory: after a power cut a file is the old one or the new one, never half of it.

What is read is what it is named, or an error. Nothing here knows of copies or of other servers.
"""

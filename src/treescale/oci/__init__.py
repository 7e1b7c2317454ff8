"""The words of the OCI specifications as values. Pure: no I/O, no time, no chance.

What is parsed is valid, or an error with the specification's code is raised.
"""

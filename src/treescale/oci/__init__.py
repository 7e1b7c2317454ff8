"""The words of the OCI specifications as values. Pure: no I/O, no time, no chance."""

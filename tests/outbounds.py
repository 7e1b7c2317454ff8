"""What asks others, for all tests of a process: whom the system trusts takes 30 ms to be read."""

from functools import cache

from treescale.outbound.client import Outbound


@cache
def outbound() -> Outbound:
    """Return the one that trusts whom the system trusts, and asks by no proxy."""
    return Outbound()

"""What the replicated store is told of its stores by whoever watches them."""

from collections.abc import Sequence
from typing import Protocol


class Health(Protocol):
    """Which stores can be expected to answer.

    Never waits and never raises; a store it has not heard of is up.
    """

    def is_up(self, store_id: str) -> bool:
        """Say whether the store is not known to be down: False spares it, and us, a request."""
        ...

    def is_local(self, store_id: str) -> bool:
        """Say whether the store is a disk of this server."""
        ...


class AllUp:
    """The health of stores that nobody watches: up, and here."""

    def is_up(self, store_id: str) -> bool:  # noqa: ARG002  the same of all
        """Say yes."""
        return True

    def is_local(self, store_id: str) -> bool:  # noqa: ARG002  likewise
        """Say yes."""
        return True


class Handoffs(Protocol):
    """What was written down of chunks that are not at home."""

    async def holders(self, chunk: bytes) -> Sequence[str]:
        """Return the stores that took the chunk in place of a home; raises DatabaseUnavailable.

        A hint: the answer may be out of date, and name stores that are gone.
        """
        ...

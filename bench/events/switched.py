"""`treescale` whose pushes record events, and do not from one signal to the next."""

from sqlalchemy.engine import Connection

from bench.turns import run_switched
from treescale.metadata import manifest_push
from treescale.metadata.events import recording
from treescale.metadata.events.recording import Event


class Switch:
    """Whether pushes record."""

    def __init__(self) -> None:
        self._is_on = True

    def turn(self, is_on: bool) -> None:  # noqa: FBT001  a signal says which
        """Record from now on, or do not."""
        self._is_on = is_on

    def tagged(self, connection: Connection, event: Event, row_id: int) -> str | None:
        """Return what the tag points at until now, held; with the event, if that is on."""
        if self._is_on:
            return recording.record_tagged(connection, event, row_id)
        held = {"row_id": row_id, "reference": event.reference}
        return connection.scalar(recording.HOLD_TAG, held)

    def new(self, connection: Connection, event: Event, row_id: int) -> str | None:
        """Return the digest if it is a manifest, held; with the event, if that is on."""
        if self._is_on:
            return recording.record_new(connection, event, row_id)
        held = {"row_id": row_id, "digest": event.digest}
        return connection.scalar(recording.HOLD_MANIFEST, held)


if __name__ == "__main__":
    switch = Switch()
    run_switched(
        switch.turn,
        (manifest_push, "record_tagged", switch.tagged),
        (manifest_push, "record_new", switch.new),
    )

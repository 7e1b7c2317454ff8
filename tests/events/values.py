"""Events, for tests."""

from typing import Any

from treescale.metadata.events.recorded import Recorded
from treescale.metadata.records import Repository


def recorded(sequence: int, kind: str = "image.pushed", **more: Any) -> Recorded:
    """Return an event of alice's repository, unless told otherwise."""
    columns: dict[str, Any] = {"namespace": "alice", "repository": "alice/app"} | more
    return Recorded(sequence, f"id-{sequence}", kind, 1000.0 + sequence, "alice", **columns)


PRIVATE = Repository("alice/app", public=False, created=500.0)
PUBLIC = Repository("alice/app", public=True, created=500.0)

"""A server that is wrong on purpose: `python -m tests.functional.cluster.altered HOW serve …`.

HOW names a protection that is switched off, for a negative control; or `mortal=DIRECTORY`, a
server whose worker dies at the step that the file `order` in there names. Its supervisor starts
another worker at once, so one server can die at every step there is.
"""

import asyncio
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, event

from tests.crash.hurt import Hurt, HurtDisk, count_nouns, disk_store_on, writes
from treescale import serve
from treescale.chunks import domains, fetching, writing
from treescale.cli.main import main
from treescale.metadata.hearsay import Hearsay
from treescale.metadata.known import Known
from treescale.metadata.sql.database import SqlDatabase, open_database
from treescale.neighbours import Neighbours
from treescale.peer.health import PeerHealth
from treescale.registry.push import Pushes

ORDER: Final = "order"
LABELS: Final = "labels"
"""When it is there, each step's label is added to it."""


class Mortal:
    """Dies at the step that is ordered: the n-th of its label since the order was given."""

    def __init__(self, directory: Path) -> None:
        self._order = directory / ORDER
        self._labels = directory / LABELS
        self._lock = threading.Lock()
        self._given = ""
        self._counts: Counter[str] = Counter()

    def step(self, label: str) -> None:
        """Be at this step, and die if it is the one."""
        with self._lock:
            if self._labels.exists():
                with self._labels.open("a") as labels:
                    labels.write(f"{label}\n")
            try:
                given = self._order.read_text()
            except FileNotFoundError:
                return
            if given != self._given:
                self._given = given
                self._counts.clear()
            self._counts[label] += 1
            number, _, wanted = given.partition(" ")
            if label == wanted and self._counts[label] == int(number):
                self._order.unlink()
                os.kill(os.getpid(), signal.SIGKILL)
                signal.pause()


def become_mortal(directory: str) -> None:
    """Count calls of the disk, calls of the database, and statements that write."""
    mortal = Mortal(Path(directory))

    def opened(url: str, *, hearsay: Hearsay | None) -> SqlDatabase:
        database = open_database(url, hearsay=hearsay)
        count_nouns(database, mortal)
        return database

    def executed(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        label = writes(statement)
        if label:
            mortal.step(f"sql {label}")

    setattr(serve, "DiskStore", disk_store_on(HurtDisk(mortal, Hurt())))  # noqa: B010  as mypy has it
    setattr(serve, "open_database", opened)  # noqa: B010  likewise
    event.listen(Engine, "before_cursor_execute", executed)
    event.listen(Engine, "commit", lambda _: mortal.step("sql COMMIT"))


def ping_nobody() -> None:
    """Have no connection watched and nobody pinged."""

    async def watch(_: PeerHealth) -> None:
        await asyncio.Event().wait()

    _replace(PeerHealth, "watch", watch)


def remember_nothing() -> None:
    """Have the database asked for everything, also when it is away."""

    async def read(_self: object, repository: str, name: str, ask: Any, _size: object) -> Any:
        return await ask(repository, name)

    _replace(Known, "read", read)


def acknowledge_one_copy() -> None:
    """Take one durable copy to be enough."""
    _replace(domains, "write_quorum_max", 1)


def ask_only_once() -> None:
    """Take a PUT that is sent again for one of an upload that never was."""

    async def has(*_: object) -> bool:
        return False

    _replace(Pushes, "_has", has)


def wait_for_the_late() -> None:
    """Ask nobody else while a store does not answer."""
    _replace(writing, "late_seconds_max", 60.0)
    _replace(fetching, "late_seconds_max", 60.0)


def forget_nobody() -> None:
    """Look for servers where they were first met."""

    async def forget(*_: object) -> None:
        pass

    _replace(Neighbours, "_forget", forget)


ALTERATIONS: Final[Mapping[str, Callable[[], None]]] = {
    "ping-nobody": ping_nobody,
    "remember-nothing": remember_nothing,
    "acknowledge-one-copy": acknowledge_one_copy,
    "ask-only-once": ask_only_once,
    "wait-for-the-late": wait_for_the_late,
    "forget-nobody": forget_nobody,
}


def altered(how: str) -> tuple[str, ...]:
    """Return what runs such a server, for `Options.launcher`."""
    return (sys.executable, "-m", "tests.functional.cluster.altered", how)


def _replace(owner: object, name: str, value: object) -> None:
    assert hasattr(owner, name), f"{owner} has no {name} any more: this control tests nothing"
    setattr(owner, name, value)


def _alter(how: str) -> None:
    name, _, where = how.partition("=")
    if name == "mortal":
        become_mortal(where)
    else:
        ALTERATIONS[name]()


if __name__ == "__main__":
    _alter(sys.argv.pop(1))
    main()

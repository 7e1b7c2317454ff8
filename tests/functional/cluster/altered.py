"""A server that is wrong on purpose: `python -m tests.functional.cluster.altered HOW serve …`.

HOW names a protection that is switched off, for a negative control (several with commas); or
`mortal=DIRECTORY`, a server whose worker dies at the step that the file `order` in there names. Its
supervisor starts another worker at once, so one server can die at every step there is.
"""

import asyncio
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from sqlalchemy import Engine, event

from tests.crash.hurt import Hurt, HurtDisk, count_nouns, disk_store_on, writes
from treescale.auth.guessing import Urgency, Verdict
from treescale.cache.answers import AnswerCache
from treescale.cache.exchange import AnswerExchange
from treescale.chunks.disk import state, store
from treescale.chunks.disk.copies import Copies
from treescale.chunks.disk.syscalls import Disk
from treescale.chunks.format import failure_domains
from treescale.chunks.replication import read as fetching
from treescale.chunks.replication import store as writing
from treescale.cli.main import main
from treescale.clock import DatabaseClock
from treescale.lines import Lines
from treescale.maintenance import settle, walk
from treescale.maintenance.planning import progress
from treescale.metadata import database
from treescale.metadata.blobs import Blobs
from treescale.metadata.database import Database, open_database
from treescale.metadata.engine.sqlite_file import DatabaseFile
from treescale.metadata.events.log import EventLog
from treescale.metrics.meters import Meters
from treescale.peer import health
from treescale.peer.address import PeerAddress
from treescale.peer.connection import PeerConnection
from treescale.peer.health import PeerHealth
from treescale.registry import throttle
from treescale.registry.push import Pushes
from treescale.registry.token_service import TokenService
from treescale.server import background
from treescale.server.data import local_stores
from treescale.server.peers import Peers
from treescale.server.processes.backoff import Backoff

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
        """Be at this step, and die if it is the one. The walk beside the workers does not die."""
        if Path("/proc/self/comm").read_text().strip() == "ts-walk":
            return
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

    def opened(
        url: str,
        *,
        exchange: AnswerExchange | None = None,
        file: DatabaseFile | None = None,
        meters: Meters | None = None,
    ) -> Database:
        counted = open_database(url, exchange=exchange, file=file, meters=meters)
        count_nouns(counted, mortal)
        return counted

    def executed(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        label = writes(statement)
        if label:
            mortal.step(f"sql {label}")

    setattr(local_stores, "DiskStore", disk_store_on(HurtDisk(mortal, Hurt())))  # noqa: B010  as mypy has it
    setattr(database, "open_database", opened)  # noqa: B010  likewise
    event.listen(Engine, "before_cursor_execute", executed)
    event.listen(Engine, "commit", lambda _: mortal.step("sql COMMIT"))


def have_a_clock_that_is_set(by: Path) -> None:
    """Be on a machine whose clock is so many seconds ahead as a file says at that moment."""
    true = time.time  # noqa: TID251  it is what is altered
    _replace(time, "time", lambda: true() + float(by.read_text()))


def go_by_ones_own_clock() -> None:
    """Take this machine's time for the database's."""

    async def read(*_: object) -> None:
        pass

    _replace(DatabaseClock, "read", read)


def hear_of_no_change() -> None:
    """Read no generations."""

    async def read(*_: object) -> None:
        pass

    _replace(TokenService, "_read_changes", read)


def read_no_log() -> None:
    """Have a server that reads nothing in the log of events, as if that were not there."""

    async def nothing(*_: object) -> list[object]:
        return []

    _replace(EventLog, "after", nothing)


def ping_nobody() -> None:
    """Have no connection watched and nobody pinged."""

    async def watch(_: PeerHealth) -> None:
        await asyncio.Event().wait()

    _replace(PeerHealth, "watch", watch)


def remember_nothing() -> None:
    """Have the database asked for everything, also when it is away."""

    async def read(
        _self: object, repository: str, name: str, ask: Any, _size: object, **_how: object
    ) -> Any:
        return await ask(repository, name)

    _replace(AnswerCache, "read", read)


def acknowledge_one_copy() -> None:
    """Take one durable copy to be enough."""
    _replace(failure_domains, "WRITE_QUORUM_MAX", 1)


def ask_only_once() -> None:
    """Take a PUT that is sent again for one of an upload that never was."""

    async def never(*_: object) -> None:
        pass

    _replace(Pushes, "_size_there", never)


def wait_for_the_late() -> None:
    """Ask nobody else while a store does not answer."""
    _replace(writing, "LATE_SECONDS_MAX", 60.0)
    _replace(fetching, "LATE_SECONDS_MAX", 60.0)


def forget_nobody() -> None:
    """Look for servers where they were first met."""

    def forget(*_: object) -> None:
        pass

    _replace(Peers, "_forget", forget)


def judge_nobody() -> None:
    """Look at every password in the order of arrival, whoever sends it."""
    _replace(throttle, "judge", lambda *_, **__: Verdict(Urgency.CLEAN))


def believe_everybody() -> None:
    """Take any address as it is, and let what fails in the background end the worker."""

    def believed(text: str) -> PeerAddress:
        found = urlsplit(text)
        return PeerAddress(found.scheme, found.hostname or "", found.port or 80)

    async def go(run: Any) -> None:
        await run.work()

    async def connect(url: str, *_: object) -> object:
        loop, address = asyncio.get_running_loop(), believed(url)
        return (await loop.create_connection(PeerConnection, address.host, address.port))[1]

    async def exchange(pings: Any, seconds: float) -> object:
        return await pings._ask(seconds)

    _replace(health, "reachable", believed)
    _replace(health, "connect", connect)
    _replace(health._Pings, "_exchange", exchange)
    _replace(background._Run, "go", go)


def look_at_no_file() -> None:
    """Take whatever SQLite has open for the database."""

    def look(*_: object) -> None:
        pass

    def one_place(_: object) -> tuple[int, int]:
        return 0, 0

    for name in ("check_place", "look", "check_writable"):
        _replace(DatabaseFile, name, look)
    _replace(DatabaseFile, "log_place", one_place)


def raise_of_logs() -> None:
    """Take a line that cannot be written for an error."""

    def write(lines: Any, line: bytes) -> None:
        os.write(lines._fd, line)

    _replace(Lines, "write", write)


def give_up() -> None:
    """Take it for an error of the server that no process can be made."""

    def unstarted(_: object) -> tuple[int, float]:
        raise OSError("no process can be made")

    _replace(Backoff, "unstarted", unstarted)


def wait_for_disks() -> None:
    """Wait for a disk as long as it takes."""

    def never(*_: object) -> bool:
        return False

    _replace(state, "is_silent", never)
    _replace(store, "is_over", never)


def read_nothing_back() -> None:
    """Take what a disk has of a chunk for good, whatever it is."""

    def read_back(_: Copies, chunk: bytes) -> int:
        return len(chunk)

    _replace(Copies, "read_back", read_back)


def sync_no_chunk() -> None:
    """Have chunks, their names and the file system synced by nobody but the kernel."""

    def never(*_: object) -> None:
        pass

    for call in ("fsync", "fsync_directory", "syncfs"):
        _replace(Disk, call, never)


def promise_nothing() -> None:
    """Say that a blob is there, and have it stay no longer for that (collection.md R19)."""
    _replace(Blobs, "promise", Blobs.find)


def settle_soon() -> None:
    """Take it that a layout is gone by everywhere a few seconds after it came into force."""
    for module in (progress, settle, walk):
        _replace(module, "FOLLOWED_SECONDS", 8.0)


ALTERATIONS: Final[Mapping[str, Callable[[], None]]] = {
    "ping-nobody": ping_nobody,
    "remember-nothing": remember_nothing,
    "acknowledge-one-copy": acknowledge_one_copy,
    "ask-only-once": ask_only_once,
    "wait-for-the-late": wait_for_the_late,
    "forget-nobody": forget_nobody,
    "go-by-ones-own-clock": go_by_ones_own_clock,
    "hear-of-no-change": hear_of_no_change,
    "wait-for-disks": wait_for_disks,
    "read-no-log": read_no_log,
    "judge-nobody": judge_nobody,
    "believe-everybody": believe_everybody,
    "look-at-no-file": look_at_no_file,
    "raise-of-logs": raise_of_logs,
    "give-up": give_up,
    "read-nothing-back": read_nothing_back,
    "sync-no-chunk": sync_no_chunk,
    "promise-nothing": promise_nothing,
    "settle-soon": settle_soon,
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
    elif name == "clock":
        have_a_clock_that_is_set(Path(where))
    else:
        ALTERATIONS[name]()


if __name__ == "__main__":
    for how in sys.argv.pop(1).split(","):
        _alter(how)
    main()

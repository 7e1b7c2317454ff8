"""SQLite's commits: the writing thread, its connection, and the queue before it.

Transactions that queue while another is being synced run together in the next one, each in a
savepoint of its own: an error undoes only its own, and one sync of the disk serves all. They are
answered after the commit, all by one call to their event loop. Between processes `BEGIN IMMEDIATE`
waits at the start, never in the middle of a transaction. It is tried again in steps of our own:
SQLite's grow to 100 ms, a hundred times what it waits for.

Nobody waits for a disk that hangs: a transaction that is not done in time is given up by whoever
waits for it (it may be done yet, as when an answer is lost), and while the thread is stuck others
are refused at once. Readers go on: see `_Transactions._mark`.
"""

import asyncio
import sqlite3
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

from sqlalchemy import Engine
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from treescale.errors import DatabaseTrouble, DatabaseUnavailable
from treescale.metadata.engine.connections import QUEUE_SECONDS_MAX, Result, Work
from treescale.metadata.engine.sqlite_file import DatabaseFile, Place, is_damage, log_gone
from treescale.metadata.engine.sqlite_start import HAS_NUMBERS, NUMBER_COMMIT
from treescale.threads import Threads

GROUP_MAX: Final = 64
"""Transactions that share a commit: bounds how long the first of them waits for the last."""
QUEUE_MAX: Final = 2000
"""Transactions that wait: more would only grow old there."""
STUCK_SECONDS_MAX: Final = 10.0
"""After so long in one commit the thread is stuck, and whoever waits for it is told."""
CANCELLED_SECONDS_MAX: Final = 0.5
"""So long a cancelled caller waits for a transaction that has begun."""
STEP_SECONDS_MIN: Final = 0.0003
LOOK_SECONDS: Final = 0.5
"""Between two looks at whether the thread is stuck, while somebody waits for it."""
STEP_SECONDS_MAX: Final = 0.002
"""Between two tries to begin: what a commit takes, about."""


@dataclass(slots=True, eq=False)
class Entry:
    """A transaction in the queue, what came out of it, and who waits for it.

    Only the loop touches `answered` and `over`, only the writing thread `result` and `error`.
    """

    work: Work[Any]
    relaxed: bool
    loop: asyncio.AbstractEventLoop
    answered: asyncio.Future[Any]
    over: bool = False
    result: Any = None
    error: BaseException | None = None

    def answer(self) -> None:
        """Tell the one who waits. On the loop."""
        self.over = True
        if self.answered.done():  # cancelled
            return
        if self.error is None:
            self.answered.set_result(self.result)
        else:
            self.answered.set_exception(self.error)


class SqliteWriter:
    """Runs transactions one after the other, or rather: a queue of them in one commit."""

    def __init__(self, engine: Engine, file: DatabaseFile, wait_seconds: float) -> None:
        self._transactions = _Transactions(engine, file, wait_seconds)
        self._thread = Threads(1, "sqlite-write")
        self._arrived: list[Entry] = []
        self._queue: deque[Entry] = deque()
        self._awake = False
        self._turn_began: float | None = None
        self._running: list[Entry] = []
        self._watching = False

    async def transact(self, work: Work[Result], *, durable: bool) -> Result:
        """Run `work`, perhaps with others; raises DatabaseUnavailable when it waits too long.

        A cancelled caller takes it out of the queue, or waits until it has ended.
        """
        if len(self._queue) + len(self._arrived) >= QUEUE_MAX:
            raise _too_many()
        loop = asyncio.get_running_loop()
        if self._is_stuck():
            raise self._why_stuck()
        entry = Entry(work, not durable, loop, loop.create_future())
        self._arrived.append(entry)
        # Not at once: what becomes ready in this same round of the loop shares the commit.
        loop.call_soon(self._wake)
        patience = loop.call_later(QUEUE_SECONDS_MAX, self._give_up, entry)
        self._watch(loop)
        try:
            result: Result = await entry.answered
        except asyncio.CancelledError:
            if not self._withdraw(entry):
                await _end_of(entry)
            raise
        finally:
            patience.cancel()
        return result

    def close(self) -> None:
        """Do what is queued, and end the thread. May be used again.

        Waits for a commit that hangs: whoever must end in time does not wait for this.
        """
        self._wake()
        self._thread.shutdown()
        self._thread = Threads(1, "sqlite-write")
        self._transactions.close()

    def _wake(self) -> None:
        """Hand over, at one stroke, what has arrived in this round."""
        arrived, self._arrived = self._arrived, []
        self._queue.extend(arrived)
        if self._queue and not self._awake:
            self._awake = True
            self._thread.submit(self._turns)

    def _is_stuck(self) -> bool:
        began = self._turn_began
        return began is not None and monotonic() - began >= STUCK_SECONDS_MAX

    def _why_stuck(self) -> DatabaseUnavailable:
        return _locked() if self._transactions.waits_for_lock else _stuck()

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look now and then at whoever waits. On the loop."""
        if not self._watching:
            self._watching = True
            loop.call_later(LOOK_SECONDS, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Tell whoever waits for a thread that is stuck. On the loop."""
        self._watching = False
        if self._is_stuck():
            for entry in (*self._running, *self._queue, *self._arrived):
                if entry.loop is loop and not entry.answered.done():
                    self._withdraw(entry)
                    entry.answered.set_exception(self._why_stuck())
        elif self._turn_began is not None or self._queue or self._arrived:
            self._watch(loop)

    def _withdraw(self, entry: Entry) -> bool:
        """Take it out of the queue; False when its turn has come."""
        for place in (self._arrived, self._queue):
            with suppress(ValueError):
                place.remove(entry)
                return True
        return False

    def _give_up(self, entry: Entry) -> None:
        if self._withdraw(entry):
            entry.error = _too_many()
            entry.answer()

    def _turns(self) -> None:
        """Empty the queue. Who adds to it after the last look finds us no longer awake."""
        while True:
            self._turn()
            if not self._queue:
                self._awake = False
                if not self._queue:
                    return
                self._awake = True

    def _turn(self) -> None:
        group: list[Entry] = []
        with suppress(IndexError):  # the last has just been withdrawn
            while self._queue and len(group) < GROUP_MAX:
                group.append(self._queue.popleft())
        self._running, self._turn_began = group, monotonic()
        self._transactions.run(group)
        self._running, self._turn_began = [], None
        for loop in {entry.loop for entry in group}:
            with suppress(RuntimeError):  # the loop has ended, and nobody waits
                loop.call_soon_threadsafe(_answer, [each for each in group if each.loop is loop])


class _Transactions:
    """The writing connection. Used by the writing thread alone."""

    def __init__(self, engine: Engine, file: DatabaseFile, wait_seconds: float) -> None:
        self._engine = engine
        self._file = file
        self._wait_seconds = wait_seconds
        self._connection: Connection | None = None
        self._driver: sqlite3.Connection | None = None
        self._relaxed: bool | None = None
        self._changes = 0
        self._has_numbers = False
        self._log: Place | None = None
        """Where the log of writes is that this connection has open; None when it needs none."""
        self.waits_for_lock = False
        """Whether the thread waits for another process now; any thread may look."""

    def run(self, group: list[Entry]) -> None:
        """Run them together, or each alone if that undid all; what came out is in the entries."""
        if group and not self._together(group):
            for entry in group:
                self._together([entry])

    def close(self) -> None:
        """Let go of the connection, which undoes what is not committed."""
        if self._connection is not None:
            self._connection.close()
        self._connection = self._driver = self._relaxed = self._log = None

    def _together(self, group: list[Entry]) -> bool:
        """Run the group in one transaction; False when nothing was kept and each may run alone."""
        alone = len(group) == 1
        try:
            self._file.check_writable()
            connection = self._open(relaxed=all(entry.relaxed for entry in group))
            self._begin()
            self._check_log()
            self._changes = self._driver.total_changes if self._driver else 0
            for entry in group:
                if not self._run(connection, entry, alone=alone):
                    return alone
            self._count()
            self._say("COMMIT")
            # What went to a file without a name, or to such a log, is not acknowledged.
            self._file.look()
            self._check_log()
            self._mark()
        except BaseException as error:  # noqa: BLE001  it is told to everyone who waits
            self._note_damage(error)
            for entry in group:
                entry.error = error
        finally:
            if self._in_transaction():
                self._undo()
        return True

    def _run(self, connection: Connection, entry: Entry, *, alone: bool) -> bool:
        """Run it; False when the transaction ends with it, as SQLite ends it on a full disk."""
        entry.result, entry.error = None, None
        if not alone:
            self._say("SAVEPOINT work")
        try:
            entry.result = entry.work(connection)
        except BaseException as error:  # noqa: BLE001  it is told to the one who waits
            entry.error = error
            self._note_damage(error)
            if alone or not self._in_transaction():
                return False
            self._say("ROLLBACK TO work")
        if not alone:
            self._say("RELEASE work")
        return True

    def _open(self, *, relaxed: bool) -> Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
            self._driver = driver = self._connection.connection.driver_connection
            self._connection.detach()  # from the pool: no reader is to get its settings
            self._say("PRAGMA busy_timeout=0")
            assert driver is not None, "it is connected"
            self._has_numbers = driver.execute(HAS_NUMBERS).fetchone() is not None
        if relaxed != self._relaxed:
            self._say(f"PRAGMA synchronous={'NORMAL' if relaxed else 'FULL'}")
            self._relaxed = relaxed
        return self._connection

    def _begin(self) -> None:
        """Take the write lock; raises SQLite's error when another process keeps it too long."""
        step, waited = STEP_SECONDS_MIN, 0.0
        try:
            while True:
                try:
                    self._say("BEGIN IMMEDIATE")
                except DBAPIError as error:
                    if not _busy(error) or waited >= self._wait_seconds:
                        raise
                else:
                    return
                self.waits_for_lock = True
                time.sleep(step)
                waited += step
                step = min(2 * step, STEP_SECONDS_MAX)
        finally:
            self.waits_for_lock = False

    def _check_log(self) -> None:
        """Raise DatabaseUnavailable when the log of writes is not the one this connection has open.

        SQLite removes it with the last connection alone. It does not look whether somebody else
        does, and what it writes to a log without a name is lost with the process.
        """
        assert self._driver is not None
        if self._log is None:
            (mode,) = self._driver.execute("PRAGMA journal_mode").fetchone()
            if mode != "wal":
                return
            self._log = self._file.log_place()
        if self._log is None or self._file.log_place() != self._log:
            raise log_gone()

    def _count(self) -> None:
        """Give this commit its number, if it changes anything; see `sqlite_start`.

        A database that no migration has brought to this version has no numbers.
        """
        assert self._driver is not None
        if self._driver.total_changes != self._changes and self._has_numbers:
            self._say(NUMBER_COMMIT)

    def _say(self, words: str) -> None:
        """Run a statement around the work's own; through SQLAlchemy it would cost five times."""
        assert self._driver is not None
        try:
            self._driver.execute(words)
        except sqlite3.Error as error:
            raise DBAPIError(words, None, error) from error

    def _note_damage(self, error: BaseException) -> None:
        if isinstance(error, DBAPIError) and is_damage(error.orig):
            self._file.damaged()

    def _mark(self) -> None:
        """Have SQLite mark the end of its log for readers, which then need not write it.

        The first reader after a commit writes that mark into memory shared by way of a file, and
        hangs there when the file system is frozen, be it an event loop that asks `answers_version`.
        """
        assert self._driver is not None
        self._driver.execute("PRAGMA data_version").fetchone()

    def _in_transaction(self) -> bool:
        return self._driver is not None and self._driver.in_transaction

    def _undo(self) -> None:
        """Roll back; a connection that cannot is let go of, which undoes it as well."""
        try:
            self._say("ROLLBACK")
        except DBAPIError:
            self.close()


def _answer(group: list[Entry]) -> None:
    for entry in group:
        entry.answer()


def _busy(error: DBAPIError) -> bool:
    """Return whether another process is in the way: also SQLITE_BUSY_RECOVERY and its like."""
    return str(getattr(error.orig, "sqlite_errorname", "")).startswith("SQLITE_BUSY")


async def _end_of(entry: Entry) -> None:
    """Wait until a transaction whose caller was cancelled has ended, or the disk hangs."""
    if entry.over:
        return
    entry.answered = entry.loop.create_future()
    done, _ = await asyncio.wait([entry.answered], timeout=CANCELLED_SECONDS_MAX)
    if done:
        entry.answered.exception()  # is seen
    else:
        entry.answered.cancel()


def _stuck() -> DatabaseUnavailable:
    return DatabaseUnavailable("the database's disk does not answer writes: it hangs, or is frozen")


def _locked() -> DatabaseUnavailable:
    return DatabaseUnavailable("another process keeps the database locked", DatabaseTrouble.BUSY)


def _too_many() -> DatabaseUnavailable:
    return DatabaseUnavailable("too many writes are waiting for the database", DatabaseTrouble.BUSY)

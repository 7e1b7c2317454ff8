"""SQLite's commits: the writing thread, its connection, and the queue before it.

Transactions that queue while another is being synced run together in the next one, each in a
savepoint of its own: an error undoes only its own, and one sync of the disk serves all. They are
answered after the commit, all by one call to their event loop. Between processes `BEGIN IMMEDIATE`
waits at the start, never in the middle of a transaction. It is tried again in steps of our own:
SQLite's grow to 100 ms, a hundred times what it waits for.
"""

import asyncio
import sqlite3
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Engine
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from treescale.errors import DatabaseAway
from treescale.metadata.sql.connections import Result, Work, queue_seconds_max

group_max: Final = 64
"""Transactions that share a commit: bounds how long the first of them waits for the last."""
queue_max: Final = 2000
"""Transactions that wait: more would only grow old there."""
step_seconds_min: Final = 0.0003
step_seconds_max: Final = 0.002
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

    def __init__(self, engine: Engine, wait_seconds: float) -> None:
        self._transactions = _Transactions(engine, wait_seconds)
        self._thread = ThreadPoolExecutor(1, "sqlite-write")
        self._arrived: list[Entry] = []
        self._queue: deque[Entry] = deque()
        self._awake = False

    async def transact(self, work: Work[Result], *, durable: bool) -> Result:
        """Run `work`, perhaps with others that wait; raises DatabaseAway when it waits too long.

        A cancelled caller takes it out of the queue, or waits until it has ended.
        """
        if len(self._queue) + len(self._arrived) >= queue_max:
            raise _too_many()
        loop = asyncio.get_running_loop()
        entry = Entry(work, not durable, loop, loop.create_future())
        self._arrived.append(entry)
        # Not at once: what becomes ready in this same round of the loop shares the commit.
        loop.call_soon(self._wake)
        patience = loop.call_later(queue_seconds_max, self._give_up, entry)
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
        """Do what is queued, and end the thread. May be used again."""
        self._wake()
        self._thread.shutdown()
        self._thread = ThreadPoolExecutor(1, "sqlite-write")
        self._transactions.close()

    def _wake(self) -> None:
        """Hand over, at one stroke, what has arrived in this round."""
        arrived, self._arrived = self._arrived, []
        self._queue.extend(arrived)
        if self._queue and not self._awake:
            self._awake = True
            self._thread.submit(self._turns)

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
            while self._queue and len(group) < group_max:
                group.append(self._queue.popleft())
        self._transactions.run(group)
        for loop in {entry.loop for entry in group}:
            with suppress(RuntimeError):  # the loop has ended, and nobody waits
                loop.call_soon_threadsafe(_answer, [each for each in group if each.loop is loop])


class _Transactions:
    """The writing connection. Used by the writing thread alone."""

    def __init__(self, engine: Engine, wait_seconds: float) -> None:
        self._engine = engine
        self._wait_seconds = wait_seconds
        self._connection: Connection | None = None
        self._driver: sqlite3.Connection | None = None
        self._relaxed: bool | None = None

    def run(self, group: list[Entry]) -> None:
        """Run them together, or each alone if that undid all; what came out is in the entries."""
        if group and not self._together(group):
            for entry in group:
                self._together([entry])

    def close(self) -> None:
        """Let go of the connection, which undoes what is not committed."""
        if self._connection is not None:
            self._connection.close()
        self._connection = self._driver = self._relaxed = None

    def _together(self, group: list[Entry]) -> bool:
        """Run the group in one transaction; False when nothing was kept and each may run alone."""
        alone = len(group) == 1
        try:
            connection = self._open(relaxed=all(entry.relaxed for entry in group))
            self._begin()
            for entry in group:
                if not self._run(connection, entry, alone=alone):
                    return alone
            self._say("COMMIT")
        except BaseException as error:  # noqa: BLE001  it is told to everyone who waits
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
            if alone or not self._in_transaction():
                return False
            self._say("ROLLBACK TO work")
        if not alone:
            self._say("RELEASE work")
        return True

    def _open(self, *, relaxed: bool) -> Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
            self._driver = self._connection.connection.driver_connection
            self._connection.detach()  # from the pool: no reader is to get its settings
            self._say("PRAGMA busy_timeout=0")
        if relaxed != self._relaxed:
            self._say(f"PRAGMA synchronous={'NORMAL' if relaxed else 'FULL'}")
            self._relaxed = relaxed
        return self._connection

    def _begin(self) -> None:
        """Take the write lock; raises SQLite's error when another process keeps it too long."""
        step, waited = step_seconds_min, 0.0
        while True:
            try:
                self._say("BEGIN IMMEDIATE")
            except DBAPIError as error:
                if not _busy(error) or waited >= self._wait_seconds:
                    raise
            else:
                return
            time.sleep(step)
            waited += step
            step = min(2 * step, step_seconds_max)

    def _say(self, words: str) -> None:
        """Run a statement around the work's own; through SQLAlchemy it would cost five times."""
        assert self._driver is not None
        try:
            self._driver.execute(words)
        except sqlite3.Error as error:
            raise DBAPIError(words, None, error) from error

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
    """Wait until a transaction whose caller was cancelled has ended, however it did."""
    if entry.over:
        return
    entry.answered = entry.loop.create_future()
    await asyncio.wait([entry.answered])
    entry.answered.exception()  # is seen


def _too_many() -> DatabaseAway:
    return DatabaseAway("too many writes are waiting for the database")

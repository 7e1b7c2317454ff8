"""The events' part of a worker: what it does in the background, and who tells whom of the log.

    a write here has recorded ─► this server's worker that numbers ─► the log has grown
         (bell, within a server)                                          │
                  the other workers of this server (bell) ◄───────────────┤
                  the other servers, if anybody follows there (exchange) ◄┘

On SQLite what is recorded has its number, so the first two steps are one.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from treescale.cache.exchange import AgedAnswer, AnswerExchange
from treescale.clock import Clock
from treescale.events.hints import Hint, hints
from treescale.events.live import LiveLog
from treescale.events.publisher import Publisher
from treescale.events.retention import (
    AUDIT_SETTING,
    SETTING,
    Retention,
    audit_seconds,
    retention_of,
)
from treescale.events.signals import Signal, Signals
from treescale.metadata.database import Database
from treescale.metadata.events.log import READ_AT_ONCE_MAX, following
from treescale.metadata.events.recorded import Place
from treescale.metadata.events.recording import actor_of_server
from treescale.server.events import losses
from treescale.server.events.bell import Bell
from treescale.server.events.presence import Presence

NOUN: Final = "events"
"""Of what is told to other servers; see `cache.exchange`."""
GROWN: Final = "grown"
FOLLOW: Final = "follow"
WANTED_SECONDS: Final = 15.0
"""So long after they asked for it other servers are told that the log has grown."""
ASK_SECONDS: Final = 5.0
"""How often a worker that has followers asks for it."""
ASKED_SECONDS: Final = 0.5
"""Those that join within this time share the question."""
PRUNE_PAUSE_SECONDS: Final = 0.05
"""Between two transactions that remove: pushes go first."""
WATCH_SECONDS: Final = 1.0
"""How often a server looks in the log for what it would else hear of some seconds later: not with
each push, which would pay for it."""
_HINTS: Final = {Hint.RIGHTS: b"a", Hint.LAYOUT: b"l"}
_WORDS: Final = {b"r": "recorded", b"g": GROWN, b"f": FOLLOW}


@dataclass(frozen=True, slots=True)
class ThisWorker:
    """Whose worker it is; `boot` is a text that the workers of this start share."""

    server_id: str
    boot: str
    workers: int
    is_on_sqlite: bool
    on_followers: Callable[[int], None] = lambda _: None
    """Hears how many follow the events here, when that has changed."""


@contextmanager
def event_work(
    worker: ThisWorker, database: Database, exchange: AnswerExchange, clock: Clock
) -> Iterator["EventWork"]:
    """Have it for the time of a block."""
    with Bell(worker.boot, worker.workers) as bell:
        work = EventWork(
            database,
            exchange,
            bell,
            clock,
            actor=actor_of_server(worker.server_id),
            numbered_at_once=worker.is_on_sqlite,
        )
        work.live.on_followers = worker.on_followers
        yield work


class EventWork:
    """What tells of the log, and follows it, in one worker."""

    def __init__(
        self,
        database: Database,
        exchange: AnswerExchange,
        bell: Bell,
        clock: Clock,
        *,
        actor: str,
        numbered_at_once: bool,
    ) -> None:
        """`actor` is this server; `numbered_at_once`: what is recorded has its number (SQLite)."""
        self.signals = Signals()
        self.live = LiveLog(database.event_log, database.repositories, self.signals)
        self._publisher = Publisher(
            database.event_log, self.signals, self._published, self._is_followed
        )
        self._numbered_here = Signal()
        self._database, self._log = database, database.event_log
        self._actor = actor
        self._presence = Presence(database, actor, clock)
        self._exchange = exchange
        self._bell = bell
        self._clock = clock
        self._wanted_until = float("-inf")
        self._ringing = False
        self._numbered_at_once = numbered_at_once
        exchange.register(NOUN, self._heard_of_server)
        bell.listen(self._heard)
        database.connections.on_recorded = self._recorded

    async def number(self) -> None:
        """Give this server's events their numbers, and those of others that nobody has given any.

        Until cancelled, in one worker of each server.
        """
        await self._publisher.run()

    async def watch(self) -> None:
        """Hear in the log what servers look for, and have the workers of this one look at once.

        Until cancelled, in one worker of each server. Who begins hears of nothing older.
        """
        place = Place(await self._log.last())
        while True:
            page = await following(self._log, place, READ_AT_ONCE_MAX)
            if page is None:  # the log went back
                place = Place(await self._log.last())
                continue
            for hint in hints(event.kind for event in page):
                self.signals.hints[hint].set()
                self._bell.ring(_HINTS[hint])
            if page:
                place = page[-1].place
            if len(page) < READ_AT_ONCE_MAX:
                await asyncio.sleep(WATCH_SECONDS)

    async def look_for_servers(self) -> None:
        """Record which servers have fallen silent, or are back."""
        await self._presence.look()

    async def look_for_losses(self) -> None:
        """Record whether chunks were lost, or found again."""
        await losses.look(self._database, self._actor)

    async def prune(self) -> None:
        """Remove what is no longer to be kept, some hundred in a transaction."""
        keep = retention_of(await self._database.settings.get(SETTING))
        audited = audit_seconds(await self._database.settings.get(AUDIT_SETTING))
        more = True
        while more:
            more = await self._remove(keep) > 0
            if audited is not None:
                more = await self._log.forget(audited) > 0 or more
            await asyncio.sleep(PRUNE_PAUSE_SECONDS)

    async def _remove(self, keep: Retention) -> int:
        if keep.seconds is not None:
            return await self._log.remove_older(keep.seconds)
        return 0 if keep.count is None else await self._log.remove_all_but(keep.count)

    def _recorded(self) -> None:
        """Tell that a write of this process has recorded: once for all of a round of the loop."""
        if not self._ringing:
            self._ringing = True
            asyncio.get_running_loop().call_soon(self._ring)

    def _ring(self) -> None:
        self._ringing = False
        if self._numbered_at_once:
            self._grown()
            return
        self.signals.recorded.set()
        self._bell.ring(b"r")

    def _is_followed(self) -> bool:
        return bool(self.live.followers) or self._clock.monotonic() < self._wanted_until

    def _published(self) -> None:
        self._grown()
        self._numbered_here.set()

    def _grown(self) -> None:
        self.signals.grown.set()
        self._bell.ring(b"g")

    def _heard(self, word: bytes) -> None:
        """Hear a fellow worker."""
        match _WORDS.get(word):
            case "recorded":
                self.signals.recorded.set()
            case "grown":
                self.signals.grown.set()
            case "follow":
                self._wanted_until = self._clock.monotonic() + WANTED_SECONDS
            case None:
                self._heard_hint(word)
            case _:
                pass

    def _heard_hint(self, word: bytes) -> None:
        for hint, byte in _HINTS.items():
            if byte == word:
                self.signals.hints[hint].set()

    def _heard_of_server(self, _: str, word: str) -> AgedAnswer[object] | None:
        """Hear another server, for all workers of this one."""
        for byte, known in _WORDS.items():
            if known == word and word != "recorded":
                self._heard(byte)
                self._bell.ring(byte)
        return None

    async def tell(self) -> None:
        """Tell the other servers that the log has grown, as long as anybody there follows it."""
        with self._numbered_here.listening() as numbered:
            while True:
                if (
                    await numbered.wait(ASK_SECONDS)
                    and self._clock.monotonic() < self._wanted_until
                ):
                    await self._exchange.tell_servers(NOUN, GROWN)

    async def ask(self) -> None:
        """Ask the other servers to tell, as long as anybody follows here."""
        with self.live.joined.listening() as joined:
            while True:
                if self.live.followers:
                    self._bell.ring(b"f")
                    await self._exchange.tell_servers(NOUN, FOLLOW)
                    await asyncio.sleep(ASKED_SECONDS)
                await joined.wait(ASK_SECONDS)

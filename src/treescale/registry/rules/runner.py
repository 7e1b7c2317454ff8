"""Retention, done: once an hour all repositories for which a confirmed rule speaks are looked at.

Where a pass stands is a setting, so that another process goes on with it. What is removed can be
restored, as after any deletion. Several runs at once do no harm: each looks again where it removes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from treescale.clock import Clock
from treescale.log import get_logger
from treescale.metadata.database import Database
from treescale.metadata.retention.removal import Due, Gone, Removal
from treescale.metadata.retention.rules import Ruled, Rules
from treescale.registry.rules.judging import facts_of, judged
from treescale.registry.rules.planner import Verdict

SETTING: Final = "retention"
"""Where it is noted how far the pass is: a JSON object, for whoever goes on with it."""
PASS_SECONDS: Final = 3600.0
"""From the beginning of a pass to that of the next."""
SLICE_SECONDS_MAX: Final = 120.0
"""So long it works before it notes where it is."""
REPOSITORIES_AT_ONCE: Final = 100
TAGS_AT_ONCE: Final = 10
"""In one transaction, with the images that go with them."""
PAUSE_SECONDS: Final = 0.02
"""Between two transactions: pushes go first."""


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a pass stands."""

    begun: float = 0.0
    """By the database's clock."""
    after: int | None = None
    """The row of the last repository that was looked at; None: the pass is over."""


class Retention:
    """Removes tags by rules; `may` says whether anything may be taken away in the cluster now."""

    def __init__(
        self, database: Database, clock: Clock, may: Callable[[], Awaitable[bool]]
    ) -> None:
        self._database = database
        self._clock = clock
        self._may = may
        self._rules = Rules(database.connections)
        self._removal = Removal(database.connections)
        self._log = get_logger()

    async def turn(self) -> None:
        """Begin a pass if one is due, and go on with it for some minutes."""
        if not await self._rules.any_armed():
            return
        now, progress = await self._database.servers.now(), await self._progress()
        if progress.after is None:
            if 0 <= now - progress.begun < PASS_SECONDS:
                return
            progress = Progress(now, 0)
        if not await self._may():
            return
        after = await self._go_on(progress.after or 0)
        await self._note(Progress(progress.begun, after))

    async def repository(self, repository: Ruled) -> int:
        """Remove what is due in one repository now; return how many tags went."""
        rules = await self._rules.for_repository(repository)
        connections = self._database.connections
        facts = await facts_of(connections, repository, rules, for_people=False)
        verdicts = await judged(facts, rules, await self._database.servers.now())
        gone: list[Due] = []
        images = 0
        due = _due(verdicts)
        for start in range(0, len(due), TAGS_AT_ONCE):
            page = due[start : start + TAGS_AT_ONCE]
            done: Gone | None = await self._removal.take(repository, page, rules)
            if done is None:
                break
            gone += done.tags
            images += done.manifests
            await asyncio.sleep(PAUSE_SECONDS)
        if gone:
            kept = len(verdicts) - len(gone)
            await self._removal.tell(repository, gone, kept, images)
            self._log.info(
                "retention.ran", repository=repository.name, tags=len(gone), images=images
            )
        return len(gone)

    async def _go_on(self, after: int) -> int | None:
        """Look at what follows; return where it stands, None at the end."""
        begun = self._clock.monotonic()
        while page := await self._rules.to_look_at(after, REPOSITORIES_AT_ONCE):
            for repository in page:
                await self.repository(repository)
                after = repository.row_id
                if self._clock.monotonic() - begun >= SLICE_SECONDS_MAX:
                    return after
        return None

    async def _progress(self) -> Progress:
        text = await self._database.settings.get(SETTING) or "{}"
        try:
            return msgspec.json.decode(text, type=Progress)
        except msgspec.MsgspecError:
            return Progress()

    async def _note(self, progress: Progress) -> None:
        await self._database.settings.put(SETTING, msgspec.json.encode(progress).decode())


def _due(verdicts: Sequence[Verdict]) -> list[Due]:
    return [
        Due(verdict.tag, tuple(rule.rule_id for rule in verdict.rules))
        for verdict in verdicts
        if not verdict.is_kept
    ]

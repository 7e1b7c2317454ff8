"""Following a job from outside: what is said of stores that answer, and of those that do not."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.contracts.metadata_values import ACTOR, APP, NOW, large, layout, server
from tests.contracts.metadata_values import store as store_row
from tests.fakes_disk import JumpingClock
from tests.templates import empty_database
from treescale.maintenance.following import (
    SILENT_SECONDS,
    STUCK_SECONDS,
    Following,
    Outcome,
)
from treescale.maintenance.planning.findings import Findings, Kind, packed
from treescale.metadata.database import Database, open_database
from treescale.metadata.records import JobState, StoreJob, StoreReport


class Watcher:
    """Hears everything."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.shown = 0

    def show(self, parts: Sequence[StoreJob]) -> None:
        self.shown += bool(parts)

    def say(self, sentence: str) -> None:
        self.said.append(sentence)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = open_database(empty_database(tmp_path / "treescale.db"))
    for name in "abc":
        await opened.servers.register(server(f"on-{name}"), live_seconds=15, actor=ACTOR)
        await opened.stores.register(store_row(name, f"on-{name}"))
    await opened.layouts.propose(layout(1, *"abc"), actor=ACTOR)
    yield opened
    await opened.close()


class Run:
    """A job whose servers do what the test says each time somebody looks, a second apart."""

    def __init__(self, database: Database, here: Sequence[str] = ()) -> None:
        self.database = database
        self.clock = JumpingClock()
        self.watcher = Watcher()
        self.seconds = 0
        self.steps: dict[str, Callable[[StoreJob], StoreJob]] = {}
        self.following = Following(
            database, self.watcher, clock=self.clock, here=here, sleep=self._pass
        )

    async def _pass(self, _: float) -> None:
        self.seconds += 1
        self.clock.seconds += 1
        for part in await self.database.jobs.parts("j"):
            if part.state in (JobState.WAITING, JobState.RUNNING) and part.store_id in self.steps:
                await self.database.jobs.report(self.steps[part.store_id](part))

    async def of(self, kind: Kind) -> Outcome:
        return await self.following.run("j", kind, actor=ACTOR)


def done(findings: Findings) -> Callable[[StoreJob], StoreJob]:
    return lambda part: replace(
        part, state=JobState.DONE, done=4096, total=4096, moved=10, problems=packed(findings)
    )


async def test_what_all_stores_found_is_returned(database: Database) -> None:
    run = Run(database)
    run.steps = {name: done(Findings(held=2, missing=int(name == "b"))) for name in "abc"}
    outcome = await run.of(Kind.CHECK)
    assert (outcome.findings.held, outcome.findings.missing) == (6, 1)
    assert [part.store_id for part in outcome.parts] == ["a", "b", "c"]
    assert outcome.labels["a"] == "name-on-a:/data"
    assert (outcome.unasked, run.watcher.said) == ((), [])
    assert run.watcher.shown >= 2


async def test_a_store_whose_server_is_silent_is_named_at_once_and_waited_for_a_bounded_time(
    database: Database,
) -> None:
    await database.servers.mark_stopped("on-c")
    run = Run(database)
    run.steps = {name: done(Findings(held=1)) for name in "ab"}
    outcome = await run.of(Kind.CHECK)
    assert run.watcher.said == ["name-on-c:/data does not answer: its server is stopped."]
    assert SILENT_SECONDS <= run.seconds <= SILENT_SECONDS + 3
    assert [(each.store_id, each.why) for each in outcome.unasked] == [
        ("c", "its server is stopped")
    ]
    (withdrawn,) = [part for part in await database.jobs.parts("j") if part.store_id == "c"]
    assert withdrawn.state is JobState.FAILED, "nobody looks at it when it is back"


async def test_what_mends_stays_asked_for(database: Database) -> None:
    await database.servers.mark_stopped("on-c")
    run = Run(database)
    run.steps = {name: done(Findings()) for name in "ab"}
    await run.of(Kind.REPAIR)
    assert [part.store_id for part in await database.jobs.open_of("c")] == ["c"]


async def test_a_disk_in_trouble_is_said_in_the_words_of_its_server(database: Database) -> None:
    await database.servers.heartbeat("on-c", [StoreReport("c", None, None, "the disk hangs")])
    run = Run(database)
    run.steps = {name: done(Findings()) for name in "ab"}
    outcome = await run.of(Kind.CHECK)
    assert [each.why for each in outcome.unasked] == ["the disk hangs"]


async def test_a_server_that_lives_and_does_nothing_is_waited_for_longer(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("treescale.cluster.liveness.LIVE_SECONDS", 10_000.0)
    run = Run(database)
    run.steps = {name: done(Findings()) for name in "ab"}
    outcome = await run.of(Kind.CHECK)
    assert STUCK_SECONDS <= run.seconds <= STUCK_SECONDS + 3
    assert [each.store_id for each in outcome.unasked] == ["c"]
    assert "said nothing of it" in outcome.unasked[0].why


@pytest.mark.long
async def test_what_gets_on_is_waited_for_however_long_it_takes(database: Database) -> None:
    run = Run(database)
    run.steps = {name: done(Findings()) for name in "ab"}

    def slow(part: StoreJob) -> StoreJob:
        if run.seconds < 3 * STUCK_SECONDS:
            return replace(part, state=JobState.RUNNING, done=int(run.seconds), total=4096)
        return done(Findings(held=7))(part)

    run.steps["c"] = slow
    outcome = await run.of(Kind.CHECK_BYTES)
    assert (outcome.unasked, outcome.findings.held) == ((), 7)


async def test_a_store_walked_by_this_process_is_never_silent(database: Database) -> None:
    await database.servers.mark_stopped("on-c")
    run = Run(database, here=["c"])
    run.steps = {name: done(Findings()) for name in "ab"}

    def late(part: StoreJob) -> StoreJob:
        return part if run.seconds < 2 * SILENT_SECONDS else done(Findings())(part)

    run.steps["c"] = late
    assert (await run.of(Kind.CHECK)).unasked == ()
    assert run.watcher.said == []


async def test_what_could_not_be_done_is_said_with_its_reason(database: Database) -> None:
    run = Run(database)
    run.steps = {name: done(Findings()) for name in "ab"}
    reason = packed(Findings(reasons=["its server does not know the work"]))
    run.steps["c"] = lambda part: replace(part, state=JobState.FAILED, problems=reason)
    outcome = await run.of(Kind.CHECK)
    assert [(each.store_id, each.why) for each in outcome.unasked] == [
        ("c", "its server does not know the work")
    ]


async def test_a_store_of_the_layout_that_is_forgotten_could_not_be_asked(
    database: Database,
) -> None:
    await database.stores.remove("c", actor=ACTOR)
    run = Run(database)
    run.steps = {name: done(Findings()) for name in "ab"}
    outcome = await run.of(Kind.CHECK)
    assert [each.why for each in outcome.unasked] == ["it is in the layout, and forgotten"]
    assert len(outcome.parts) == 2
    assert run.seconds >= SILENT_SECONDS, "a server draws the next one"


async def test_where_no_server_runs_that_could_draw_another_layout_none_is_waited_for(
    database: Database,
) -> None:
    await database.stores.remove("c", actor=ACTOR)
    run = Run(database, here=["a", "b"])
    run.steps = {name: done(Findings()) for name in "ab"}
    outcome = await run.of(Kind.CHECK)
    assert [each.store_id for each in outcome.unasked] == ["c"]
    assert run.seconds < SILENT_SECONDS


async def test_a_layout_that_a_store_leaves_is_waited_for(database: Database) -> None:
    """Forgotten a moment ago: all is well as soon as a server has drawn the next one."""
    await database.stores.remove("c", actor=ACTOR)
    run = Run(database)
    run.steps = {name: done(Findings()) for name in "ab"}
    passing = run.following._sleep

    async def passes(seconds: float) -> None:
        assert not await database.jobs.parts("j") or run.seconds >= 3, "of all stores at once"
        await passing(seconds)
        if run.seconds == 3:
            await database.layouts.propose(layout(2, *"ab"), actor=ACTOR)

    run.following._sleep = passes
    outcome = await run.of(Kind.CHECK)
    assert (outcome.unasked, len(outcome.parts)) == ((), 2)


async def test_chunks_without_any_store_are_not_whole(tmp_path: Path) -> None:
    opened = open_database(empty_database(tmp_path / "empty.db"))
    assert (await Run(opened).of(Kind.CHECK)).unasked == ()
    await opened.blobs.commit(
        APP, large(1, (b"\x01" * 32, 1000)), upload_id=None, now=NOW, actor=ACTOR
    )
    outcome = await Following(opened, Watcher(), clock=JumpingClock()).run(
        "k", Kind.CHECK, actor=ACTOR
    )
    assert [each.label for each in outcome.unasked] == ["the cluster"]
    await opened.close()

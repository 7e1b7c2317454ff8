"""Months: what is kept counts for the time that it is, and each month by itself."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from tests.contracts.metadata_values import ACTOR, APP, NOW, digest, small
from tests.database_clock import MovedClock
from tests.tables import each_row
from treescale.metadata.database import Database, open_database
from treescale.metadata.usage import months as months_module
from treescale.metadata.usage.counting import UsageCounter
from treescale.metadata.usage.months import Months, earlier, month_of, spans
from treescale.metadata.usage.pull_counts import PullCounts, Sent

HOUR = 3600.0
DAY = 24 * HOUR


@pytest.fixture(params=["sqlite_url", pytest.param("postgres_url", marks=pytest.mark.long)])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


@pytest.fixture
async def database(url: str, database_clock: MovedClock) -> AsyncIterator[Database]:
    """Its clock is at the begin of a month."""
    opened = open_database(url)
    await database_clock.move(opened, datetime(2030, 1, 1, tzinfo=UTC).timestamp() + 60)
    now = await opened.servers.now()
    begin = datetime(2030, 1, 1, tzinfo=UTC).timestamp()
    await database_clock.move(opened, begin + 60 - now)
    yield opened
    await opened.close()


async def push(database: Database, number: int, size: int, repository: str = APP) -> None:
    new = small(number, b"x" * size)
    await database.blobs.commit(repository, new, upload_id=None, now=NOW, actor=ACTOR)
    await UsageCounter(database.connections).count()


async def test_what_is_kept_counts_by_the_hour(
    database: Database, database_clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(months_module, "NAMESPACES_AT_ONCE", 1)
    months = Months(database.connections)
    await push(database, 1, 1000)
    await push(database, 1, 1000, "bob/app")
    assert await months.sample(), "the first look only says when it was"
    assert not await months.sample()
    await database_clock.move(database, 10 * HOUR)
    assert await months.sample()
    await push(database, 2, 3000)
    await database_clock.move(database, 10 * HOUR)
    assert await months.sample()
    await database.blobs.unlink(APP, digest(2))
    await UsageCounter(database.connections).count()
    await database_clock.move(database, 4 * HOUR)
    assert await months.sample()
    (alice,) = await months.of_namespace("alice")
    assert alice.month == "2030-01"
    assert alice.byte_hours == pytest.approx(1000 * 10 + 4000 * 10 + 1000 * 4, rel=0.001)
    assert alice.kept == pytest.approx(alice.byte_hours / 24, rel=0.01)
    assert alice.kept_max == 4000
    first = await months.of_month("2030-01", "", 1)
    rest = await months.of_month("2030-01", first[-1].namespace, 9)
    assert [one.namespace for one in (*first, *rest)] == ["alice", "bob"]


async def test_each_month_has_its_part_and_old_ones_go(
    database: Database, database_clock: MovedClock
) -> None:
    months = Months(database.connections)
    await push(database, 1, 1000)
    await months.sample()
    await database_clock.move(database, 40 * DAY)
    await months.sample()
    january, february = await months.of_namespace("alice")
    assert (january.month, february.month) == ("2030-01", "2030-02")
    assert january.byte_hours == pytest.approx(1000 * 31 * 24, rel=0.001)
    assert february.byte_hours == pytest.approx(1000 * 9 * 24, rel=0.001)
    assert january.kept == pytest.approx(1000, rel=0.01)
    assert february.kept == pytest.approx(1000, rel=0.01)
    for _ in range(13):
        await database_clock.move(database, 30.5 * DAY)
        await months.sample()
    found = [one.month for one in await months.of_namespace("alice")]
    assert len(found) == 14
    assert found[0] == earlier(found[-1], 13)
    assert await months.of_month("2030-01", "", 9) == []


async def test_a_look_that_breaks_off_counts_nothing_twice(
    database: Database, database_clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(months_module, "NAMESPACES_AT_ONCE", 1)
    months = Months(database.connections)
    for name in ("alice", "bob"):
        await push(database, 1, 1000, f"{name}/app")
    await months.sample()
    await database_clock.move(database, 10 * HOUR)
    write, written = database.connections.write, list[int]()

    async def once(*args: object, **named: object) -> object:
        if written:
            raise OSError("the server is stopped")
        written.append(1)
        return await write(*args, **named)  # type: ignore[arg-type]

    with monkeypatch.context() as inside:
        inside.setattr(database.connections, "write", once)
        with pytest.raises(OSError, match="stopped"):
            await months.sample()
    await months.sample()
    for name in ("alice", "bob"):
        (month,) = await months.of_namespace(name)
        assert month.byte_hours == pytest.approx(10_000, rel=0.01), name


async def test_what_was_pulled_is_added_where_there_is_the_namespace(database: Database) -> None:
    await push(database, 1, 10)
    counts, now = PullCounts(database.connections), await database.servers.now()
    for _ in range(2):
        await counts.add(
            [], [], [Sent("alice", now, 500, 1), Sent("nobody", now, 9, 9)], actor=ACTOR
        )
    (month,) = await Months(database.connections).of_namespace("alice")
    assert (month.pulled, month.pulls, month.byte_hours) == (1000, 2, 0)
    assert await Months(database.connections).present() == "2030-01"


@each_row(
    "month, count, expected",
    [
        ("2026-01", 1, "2025-12"),
        ("2026-12", -1, "2027-01"),
        ("2026-11", 13, "2025-10"),
        ("2026-11", 0, "2026-11"),
    ],
)
def test_months_before(month: str, count: int, expected: str) -> None:
    assert earlier(month, count) == expected


def test_spans_cover_the_time() -> None:
    since = datetime(2025, 11, 30, 23, tzinfo=UTC).timestamp()
    until = datetime(2026, 2, 1, 1, tzinfo=UTC).timestamp()
    found = [*spans(since, until)]
    assert [one.month for one in found] == ["2025-11", "2025-12", "2026-01", "2026-02"]
    assert found[0].since == since
    assert found[-1].until == until
    for before, after in pairwise(found):
        assert before.until == after.since
        assert month_of(after.since) == after.month

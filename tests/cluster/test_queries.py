"""Reading which copies are missing, and striking them off."""

import pytest

from treescale.cluster import queries
from treescale.cluster.queries import missing_among, missing_at, strike
from treescale.metadata.database import Database


def chunk(number: int) -> bytes:
    return number.to_bytes(32, "big")


@pytest.mark.parametrize("page_size", [1, 2, 3, 1000])
async def test_owed_among_finds_exactly_those_whatever_the_pages(
    database: Database, monkeypatch: pytest.MonkeyPatch, page_size: int
) -> None:
    monkeypatch.setattr(queries, "PAGE_SIZE", page_size)
    await database.under_replicated.add([(chunk(n), "a") for n in range(0, 40, 2)], now=1.0)
    await database.under_replicated.add([(chunk(5), "b")], now=1.0)
    wanted = [chunk(n) for n in (0, 1, 5, 6, 7, 38, 39, 41)]
    assert await missing_among(database.under_replicated, "a", wanted) == {
        chunk(0),
        chunk(6),
        chunk(38),
    }
    assert await missing_among(database.under_replicated, "b", wanted) == {chunk(5)}
    assert await missing_among(database.under_replicated, "a", []) == set()


async def test_owed_among_does_not_read_what_lies_between(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "PAGE_SIZE", 2)
    await database.under_replicated.add([(chunk(n), "a") for n in range(100)], now=1.0)
    asked = []
    listed = database.under_replicated.list

    async def counted(store_id: str, after: bytes, limit: int) -> list[bytes]:
        asked.append(after)
        return await listed(store_id, after, limit)

    monkeypatch.setattr(database.under_replicated, "list", counted)
    assert await missing_among(database.under_replicated, "a", [chunk(3), chunk(90)]) == {
        chunk(3),
        chunk(90),
    }
    assert asked == [chunk(2), chunk(89)]


async def test_all_debts_up_to_a_limit(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    await database.under_replicated.add(
        [(chunk(1), "a"), (chunk(1), "b"), (chunk(2), "b")], now=1.0
    )
    found = await missing_at(database.under_replicated, ["a", "b", "c"])
    assert (found.by_chunk, found.complete) == ({chunk(1): {"a", "b"}, chunk(2): {"b"}}, True)
    monkeypatch.setattr(queries, "MISSING_READ_MAX", 2)
    assert not (await missing_at(database.under_replicated, ["a", "b"])).complete


async def test_debts_to_a_store_are_struck_off_to_the_last(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "STRUCK_AT_ONCE", 2)
    await database.under_replicated.add([(chunk(n), "a") for n in range(5)], now=1.0)
    await database.under_replicated.add([(chunk(1), "b")], now=1.0)
    assert await strike(database.under_replicated, "a") == 5
    assert [debt.store_id for debt in await database.under_replicated.summary()] == ["b"]

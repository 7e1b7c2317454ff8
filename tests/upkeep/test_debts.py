"""Reading what is owed, and striking it off."""

import pytest

from treescale.metadata.protocols import Database
from treescale.upkeep import debts
from treescale.upkeep.debts import debts_to, owed_among, strike


def chunk(number: int) -> bytes:
    return number.to_bytes(32, "big")


@pytest.mark.parametrize("page_size", [1, 2, 3, 1000])
async def test_owed_among_finds_exactly_those_whatever_the_pages(
    database: Database, monkeypatch: pytest.MonkeyPatch, page_size: int
) -> None:
    monkeypatch.setattr(debts, "page_size", page_size)
    await database.owed.add([(chunk(n), "a") for n in range(0, 40, 2)], now=1.0)
    await database.owed.add([(chunk(5), "b")], now=1.0)
    wanted = [chunk(n) for n in (0, 1, 5, 6, 7, 38, 39, 41)]
    assert await owed_among(database.owed, "a", wanted) == {chunk(0), chunk(6), chunk(38)}
    assert await owed_among(database.owed, "b", wanted) == {chunk(5)}
    assert await owed_among(database.owed, "a", []) == set()


async def test_owed_among_does_not_read_what_lies_between(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(debts, "page_size", 2)
    await database.owed.add([(chunk(n), "a") for n in range(100)], now=1.0)
    asked = []
    listed = database.owed.list

    async def counted(store_id: str, after: bytes, limit: int) -> list[bytes]:
        asked.append(after)
        return await listed(store_id, after, limit)

    monkeypatch.setattr(database.owed, "list", counted)
    assert await owed_among(database.owed, "a", [chunk(3), chunk(90)]) == {chunk(3), chunk(90)}
    assert asked == [chunk(2), chunk(89)]


async def test_all_debts_up_to_a_limit(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    await database.owed.add([(chunk(1), "a"), (chunk(1), "b"), (chunk(2), "b")], now=1.0)
    found = await debts_to(database.owed, ["a", "b", "c"])
    assert (found.by_chunk, found.complete) == ({chunk(1): {"a", "b"}, chunk(2): {"b"}}, True)
    monkeypatch.setattr(debts, "debts_read_max", 2)
    assert not (await debts_to(database.owed, ["a", "b"])).complete


async def test_debts_to_a_store_are_struck_off_to_the_last(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(debts, "struck_at_once", 2)
    await database.owed.add([(chunk(n), "a") for n in range(5)], now=1.0)
    await database.owed.add([(chunk(1), "b")], now=1.0)
    assert await strike(database.owed, "a") == 5
    assert [debt.store_id for debt in await database.owed.summary()] == ["b"]

"""What `UnderReplicated` promises, and that uploads and blobs write to it what they owe."""

import pytest

from tests.contracts.metadata_values import ACTOR, APP, NOW, digest, large, part, upload
from treescale.errors import BlobUnknown, UploadOutOfOrder, UploadUnknown
from treescale.metadata.database import Database
from treescale.metadata.records import EMPTY_TAIL, MissingCopy, NewBlob, OwedCopies, UploadProgress


def chunk(number: int) -> bytes:
    return part(number)[0]


async def debts(database: Database) -> list[MissingCopy]:
    """Return all that is owed, by store."""
    owed = database.under_replicated
    stores = [each.store_id for each in await owed.summary()]
    return [(name, store) for store in stores for name in await owed.list(store, b"", 10_000)]


def owing(number: int, *owed: MissingCopy) -> NewBlob:
    made = large(number, part(number))
    return NewBlob(made.blob, made.chunks, owed)


class UnderReplicatedContract:
    """Subclass with a `database` fixture."""

    async def test_they_are_listed_by_store_in_pages(self, database: Database) -> None:
        assert await database.under_replicated.list("s1", b"", 9) == []
        made = [(chunk(n), store) for n in range(25, 0, -1) for store in ("s1", "s2")]
        await database.under_replicated.add([*made, (chunk(7), "s3")], now=NOW)
        pages, after = [], b""
        while page := await database.under_replicated.list("s1", after, 10):
            pages.append(page)
            after = page[-1]
        assert [len(page) for page in pages] == [10, 10, 5]
        assert [each for page in pages for each in page] == [chunk(n) for n in range(1, 26)]
        assert await database.under_replicated.list("s3", b"", 10) == [chunk(7)]

    async def test_what_is_known_keeps_its_time(self, database: Database) -> None:
        await database.under_replicated.add([(chunk(1), "s1"), (chunk(1), "s1")], now=NOW)
        await database.under_replicated.add([(chunk(1), "s1"), (chunk(2), "s1")], now=NOW + 5)
        await database.under_replicated.add([(chunk(2), "s2")], now=NOW + 9)
        await database.under_replicated.add([], now=NOW)
        assert await database.under_replicated.summary() == [
            OwedCopies("s1", 2, NOW),
            OwedCopies("s2", 1, NOW + 9),
        ]

    async def test_settled_ones_are_gone_and_no_others(self, database: Database) -> None:
        await database.under_replicated.add(
            [(chunk(n), s) for n in (1, 2) for s in ("s1", "s2")], now=NOW
        )
        for _ in range(2):
            await database.under_replicated.settle(
                [(chunk(1), "s1"), (chunk(2), "s2"), (chunk(9), "s1")]
            )
            assert await debts(database) == [(chunk(2), "s1"), (chunk(1), "s2")]
        await database.under_replicated.settle([])

    async def test_a_forgotten_store_is_owed_nothing(self, database: Database) -> None:
        await database.under_replicated.add([(chunk(n), "s1") for n in range(25)], now=NOW)
        await database.under_replicated.add([(chunk(1), "s2")], now=NOW)
        assert [await database.under_replicated.forget("s1", 10) for _ in range(4)] == [
            10,
            10,
            5,
            0,
        ]
        assert await debts(database) == [(chunk(1), "s2")]

    async def test_many_at_once(self, database: Database) -> None:
        many = [(chunk(n), "s1") for n in range(5001)]
        await database.under_replicated.add(many, now=NOW)
        assert await debts(database) == many
        await database.under_replicated.settle(many[1:])
        assert await debts(database) == many[:1]

    async def test_a_blobs_commit_notes_them(self, database: Database) -> None:
        new = owing(1, (chunk(1), "s2"), (chunk(1), "s1"))
        for late in range(3):
            await database.blobs.commit(APP, new, upload_id=None, now=NOW + late, actor=ACTOR)
        assert await debts(database) == [(chunk(1), "s1"), (chunk(1), "s2")]
        assert {each.since for each in await database.under_replicated.summary()} == {NOW}

    async def test_an_advance_notes_them(self, database: Database) -> None:
        await database.uploads.create(upload())
        step = UploadProgress(0, 1000, "h", (part(1),), EMPTY_TAIL, ((chunk(1), "s1"),))
        await database.uploads.advance("upload", step, now=NOW)
        assert await debts(database) == [(chunk(1), "s1")]
        step = UploadProgress(1000, 2000, "h", (part(2),), EMPTY_TAIL)
        await database.uploads.advance("upload", step, now=NOW)
        assert await debts(database) == [(chunk(1), "s1")]

    async def test_an_advance_that_is_refused_notes_nothing(self, database: Database) -> None:
        step = UploadProgress(9, 1009, "h", (part(1),), EMPTY_TAIL, ((chunk(1), "s1"),))
        with pytest.raises(UploadUnknown):
            await database.uploads.advance("upload", step, now=NOW)
        await database.uploads.create(upload())
        with pytest.raises(UploadOutOfOrder):
            await database.uploads.advance("upload", step, now=NOW)
        assert await debts(database) == []

    async def test_a_debt_that_cannot_be_noted_undoes_the_blob(self, database: Database) -> None:
        """G2: no blob without the debts that go with it."""
        wrong: MissingCopy = (chunk(1), None)  # type: ignore[assignment]
        with pytest.raises(Exception, match=r"(?i)null"):
            await database.blobs.commit(APP, owing(1, wrong), upload_id=None, now=NOW, actor=ACTOR)
        with pytest.raises(BlobUnknown):
            await database.blobs.find(APP, digest(1))
        await database.uploads.create(upload())
        step = UploadProgress(0, 1000, "h", (part(1),), EMPTY_TAIL, (wrong,))
        with pytest.raises(Exception, match=r"(?i)null"):
            await database.uploads.advance("upload", step, now=NOW)
        assert (await database.uploads.get("upload")).offset == 0
        assert await debts(database) == []

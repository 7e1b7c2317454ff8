"""What is kept is true, or the last that was known; it is bounded, and forgotten in time."""

import asyncio

import pytest

from tests.fakes_disk import JumpingClock
from treescale.errors import BlobUnknown, DatabaseAway, StoreFull
from treescale.metadata.known import Known, entry_bytes

APP = "alice/app"
LIBRARY = "alice/library"
SECONDS = 100.0


class Counted:
    """A number of changes that a test sets."""

    def __init__(self) -> None:
        self.now: int | None = 1

    def __call__(self) -> int | None:
        return self.now


class Asked:
    """A database that answers what a test says, or does not; `gate` holds an answer back."""

    def __init__(self) -> None:
        self.answer: str | Exception = "it"
        self.times = 0
        self.begun = asyncio.Event()
        self.gate: asyncio.Event | None = None

    async def __call__(self, repository: str, name: str) -> str:
        del repository, name
        self.times += 1
        answer = self.answer
        self.begun.set()
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def counted() -> Counted:
    return Counted()


@pytest.fixture
def clock() -> JumpingClock:
    return JumpingClock()


@pytest.fixture
def known(counted: Counted, clock: JumpingClock) -> Known[str]:
    return Known(counted, clock, limit=3 * (entry_bytes + 10), seconds=SECONDS)


@pytest.fixture
def asked() -> Asked:
    return Asked()


async def read(known: Known[str], asked: Asked, name: str = "a") -> str:
    return await known.read(APP, name, asked, len)


class TestWhatIsCertain:
    def test_what_was_read_stays_until_something_changes(
        self, known: Known[str], counted: Counted
    ) -> None:
        known.keep(APP, "a", "it", 2, known.begin())
        assert known.find(APP, "a") == "it"
        assert known.find(LIBRARY, "a") is None
        counted.now = 2
        assert known.find(APP, "a") is None
        counted.now = 1
        assert known.find(APP, "a") is None

    def test_what_changed_while_it_was_read_is_not_found(
        self, known: Known[str], counted: Counted
    ) -> None:
        before = known.begin()
        counted.now = 2
        known.keep(APP, "a", "old", 3, before)
        assert known.find(APP, "a") is None

    def test_without_a_number_nothing_is_found(self, known: Known[str], counted: Counted) -> None:
        counted.now = None
        known.keep(APP, "a", "it", 2, known.begin())
        assert known.find(APP, "a") is None
        counted.now = 1
        assert known.find(APP, "a") is None
        known.keep(APP, "a", "it", 2, known.begin())
        counted.now = None
        assert known.find(APP, "a") is None
        counted.now = 1
        assert known.find(APP, "a") is None, "what happened meanwhile, nobody knows"

    def test_it_is_bounded_and_the_least_lately_used_goes_first(self, known: Known[str]) -> None:
        for name in "abc":
            known.keep(APP, name, name, 10, known.begin())
        assert known.find(APP, "a") == "a"
        known.keep(APP, "d", "d", 10, known.begin())
        assert [known.last(APP, name) for name in "abcd"] == ["a", None, "c", "d"]
        known.keep(APP, "e", "large", 4 * entry_bytes, known.begin())
        assert [known.last(APP, name) for name in "acde"] == ["a", "c", "d", None]

    def test_read_twice_at_once_it_is_counted_once(self, known: Known[str]) -> None:
        for _ in range(10):
            known.keep(APP, "a", "it", 10, known.begin())
        known.keep(APP, "b", "it", 10, known.begin())
        known.keep(APP, "c", "it", 10, known.begin())
        assert known.find(APP, "a") == "it"


class TestWhileTheDatabaseIsAway:
    @pytest.fixture(autouse=True)
    def nobody_counts(self, counted: Counted) -> None:
        counted.now = None

    async def test_the_last_known_is_given(self, known: Known[str], asked: Asked) -> None:
        await read(known, asked)
        asked.answer = DatabaseAway("away")
        assert await read(known, asked) == "it"
        with pytest.raises(DatabaseAway):
            await read(known, asked, "never read")

    async def test_and_only_then(self, known: Known[str], asked: Asked) -> None:
        await read(known, asked)
        asked.answer = "another"
        assert await read(known, asked) == "another"
        assert asked.times == 2
        asked.answer = StoreFull("not away")
        with pytest.raises(StoreFull):
            await read(known, asked)

    async def test_what_was_denied_is_forgotten(self, known: Known[str], asked: Asked) -> None:
        """CVE-2026-35172: a cache made a deleted blob readable again."""
        await read(known, asked)
        asked.answer = BlobUnknown("gone")
        with pytest.raises(BlobUnknown):
            await read(known, asked)
        asked.answer = DatabaseAway("away")
        with pytest.raises(DatabaseAway):
            await read(known, asked)

    async def test_it_is_not_given_for_ever(
        self, known: Known[str], asked: Asked, clock: JumpingClock
    ) -> None:
        await read(known, asked)
        asked.answer = DatabaseAway("away")
        clock.seconds += SECONDS
        assert await read(known, asked) == "it"
        clock.seconds += 1
        with pytest.raises(DatabaseAway):
            await read(known, asked)

    async def test_what_was_read_before_it_was_forgotten_is_not_kept(
        self, known: Known[str], asked: Asked
    ) -> None:
        asked.gate = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            slow = group.create_task(read(known, asked))
            await asked.begun.wait()
            known.forget(APP, "a")
            asked.gate.set()
        assert slow.result() == "it"
        assert known.last(APP, "a") is None

    def test_of_two_readings_the_later_counts(self, known: Known[str]) -> None:
        first, second = known.begin(), known.begin()
        known.keep(APP, "a", "new", 3, second)
        known.keep(APP, "a", "old", 3, first)
        assert known.last(APP, "a") == "new"

    def test_what_was_written_is_known_but_not_certain(
        self, known: Known[str], counted: Counted
    ) -> None:
        counted.now = 1
        known.wrote(APP, ["a", "b"], "it", 2, known.begin())
        assert [known.find(APP, name) for name in "ab"] == [None, None]
        assert [known.last(APP, name) for name in "ab"] == ["it", "it"]

    def test_of_two_writes_at_once_nobody_knows_which_came_last(self, known: Known[str]) -> None:
        first, second = known.begin(), known.begin()
        known.wrote(APP, ["a"], "second", 6, second)
        known.wrote(APP, ["a"], "first", 5, first)
        assert known.last(APP, "a") is None

    def test_what_was_read_during_a_write_is_not_kept(self, known: Known[str]) -> None:
        write = known.begin()
        reading = known.begin()
        known.wrote(APP, ["a"], "new", 3, write)
        known.keep(APP, "a", "old", 3, reading)
        assert known.last(APP, "a") == "new"

    def test_some_of_a_repository(self, known: Known[str]) -> None:
        for repository, name in ((APP, "a"), (APP, "b"), (LIBRARY, "a")):
            known.keep(repository, name, name, 1, known.begin())
        known.forget_all(APP, lambda value: value == "a")
        assert [known.last(APP, "a"), known.last(APP, "b")] == [None, "b"]
        assert known.last(LIBRARY, "a") == "a"

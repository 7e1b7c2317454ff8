"""What is kept is true, or the last that was known; it is bounded, and forgotten in time."""

import asyncio

import pytest

from tests.fakes_disk import JumpingClock
from treescale.cache.answers import ENTRY_BYTES, AnswerCache
from treescale.errors import BlobUnknown, DatabaseUnavailable, StoreFull

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
def known(counted: Counted, clock: JumpingClock) -> AnswerCache[str]:
    return AnswerCache(counted, clock, limit=3 * (ENTRY_BYTES + 10), seconds=SECONDS)


@pytest.fixture
def asked() -> Asked:
    return Asked()


async def read(known: AnswerCache[str], asked: Asked, name: str = "a") -> str:
    return await known.read(APP, name, asked, len)


class TestWhatIsCertain:
    def test_what_was_read_stays_until_something_changes(
        self, known: AnswerCache[str], counted: Counted
    ) -> None:
        known.put(APP, "a", "it", 2, known.begin())
        assert known.current(APP, "a") == "it"
        assert known.current(LIBRARY, "a") is None
        counted.now = 2
        assert known.current(APP, "a") is None
        counted.now = 1
        assert known.current(APP, "a") is None

    def test_what_changed_while_it_was_read_is_not_found(
        self, known: AnswerCache[str], counted: Counted
    ) -> None:
        before = known.begin()
        counted.now = 2
        known.put(APP, "a", "old", 3, before)
        assert known.current(APP, "a") is None

    def test_without_a_number_nothing_is_found(
        self, known: AnswerCache[str], counted: Counted
    ) -> None:
        counted.now = None
        known.put(APP, "a", "it", 2, known.begin())
        assert known.current(APP, "a") is None
        counted.now = 1
        assert known.current(APP, "a") is None
        known.put(APP, "a", "it", 2, known.begin())
        counted.now = None
        assert known.current(APP, "a") is None
        counted.now = 1
        assert known.current(APP, "a") is None, "what happened meanwhile, nobody knows"

    def test_it_is_bounded_and_the_least_lately_used_goes_first(
        self, known: AnswerCache[str]
    ) -> None:
        for name in "abc":
            known.put(APP, name, name, 10, known.begin())
        assert known.current(APP, "a") == "a"
        known.put(APP, "d", "d", 10, known.begin())
        assert [known.stale(APP, name) for name in "abcd"] == ["a", None, "c", "d"]
        known.put(APP, "e", "large", 4 * ENTRY_BYTES, known.begin())
        assert [known.stale(APP, name) for name in "acde"] == ["a", "c", "d", None]

    def test_read_twice_at_once_it_is_counted_once(self, known: AnswerCache[str]) -> None:
        for _ in range(10):
            known.put(APP, "a", "it", 10, known.begin())
        known.put(APP, "b", "it", 10, known.begin())
        known.put(APP, "c", "it", 10, known.begin())
        assert known.current(APP, "a") == "it"


class TestWhileTheDatabaseIsAway:
    @pytest.fixture(autouse=True)
    def nobody_counts(self, counted: Counted) -> None:
        counted.now = None

    async def test_the_last_known_is_given(self, known: AnswerCache[str], asked: Asked) -> None:
        await read(known, asked)
        asked.answer = DatabaseUnavailable("away")
        assert await read(known, asked) == "it"
        with pytest.raises(DatabaseUnavailable):
            await read(known, asked, "never read")

    async def test_and_only_then(self, known: AnswerCache[str], asked: Asked) -> None:
        await read(known, asked)
        asked.answer = "another"
        assert await read(known, asked) == "another"
        assert asked.times == 2
        asked.answer = StoreFull("not away")
        with pytest.raises(StoreFull):
            await read(known, asked)

    async def test_what_was_denied_is_forgotten(
        self, known: AnswerCache[str], asked: Asked
    ) -> None:
        """CVE-2026-35172: a cache made a deleted blob readable again."""
        await read(known, asked)
        asked.answer = BlobUnknown("gone")
        with pytest.raises(BlobUnknown):
            await read(known, asked)
        asked.answer = DatabaseUnavailable("away")
        with pytest.raises(DatabaseUnavailable):
            await read(known, asked)

    async def test_it_is_not_given_for_ever(
        self, known: AnswerCache[str], asked: Asked, clock: JumpingClock
    ) -> None:
        await read(known, asked)
        asked.answer = DatabaseUnavailable("away")
        clock.seconds += SECONDS
        assert await read(known, asked) == "it"
        clock.seconds += 1
        with pytest.raises(DatabaseUnavailable):
            await read(known, asked)

    async def test_what_was_read_before_it_was_forgotten_is_not_kept(
        self, known: AnswerCache[str], asked: Asked
    ) -> None:
        asked.gate = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            slow = group.create_task(read(known, asked))
            await asked.begun.wait()
            known.invalidate(APP, "a")
            asked.gate.set()
        assert slow.result() == "it"
        assert known.stale(APP, "a") is None

    def test_of_two_readings_the_later_counts(self, known: AnswerCache[str]) -> None:
        first, second = known.begin(), known.begin()
        known.put(APP, "a", "new", 3, second)
        known.put(APP, "a", "old", 3, first)
        assert known.stale(APP, "a") == "new"

    def test_what_was_written_is_known_but_not_certain(
        self, known: AnswerCache[str], counted: Counted
    ) -> None:
        counted.now = 1
        known.wrote(APP, ["a", "b"], "it", 2, known.begin())
        assert [known.current(APP, name) for name in "ab"] == [None, None]
        assert [known.stale(APP, name) for name in "ab"] == ["it", "it"]

    def test_of_two_writes_at_once_nobody_knows_which_came_last(
        self, known: AnswerCache[str]
    ) -> None:
        first, second = known.begin(), known.begin()
        known.wrote(APP, ["a"], "second", 6, second)
        known.wrote(APP, ["a"], "first", 5, first)
        assert known.stale(APP, "a") is None

    def test_what_was_read_during_a_write_is_not_kept(self, known: AnswerCache[str]) -> None:
        write = known.begin()
        reading = known.begin()
        known.wrote(APP, ["a"], "new", 3, write)
        known.put(APP, "a", "old", 3, reading)
        assert known.stale(APP, "a") == "new"

    def test_some_of_a_repository(self, known: AnswerCache[str]) -> None:
        for repository, name in ((APP, "a"), (APP, "b"), (LIBRARY, "a")):
            known.put(repository, name, name, 1, known.begin())
        known.invalidate_all(APP, lambda value: value == "a")
        assert [known.stale(APP, "a"), known.stale(APP, "b")] == [None, "b"]
        assert known.stale(LIBRARY, "a") == "a"

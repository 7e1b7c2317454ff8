"""What others know: the newest word wins, and nothing outlives what it was where it comes from."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as some

from tests.fakes_disk import JumpingClock
from treescale.cache.answers import AnswerCache
from treescale.cache.exchange import QUESTIONS_MAX, AgedAnswer, AnswerExchange
from treescale.errors import BlobUnknown, DatabaseUnavailable, RequestInvalid

APP = "alice/app"
SECONDS = 100.0


class Worker:
    """One process: a database that answers or is away, what it knows, and whom it asks."""

    def __init__(self, clock: JumpingClock) -> None:
        self.answer: str | Exception = DatabaseUnavailable("away")
        self.exchange = AnswerExchange()
        self.known: AnswerCache[str] = AnswerCache(
            lambda: None, clock, seconds=SECONDS, topic=self.exchange.topic("thing", str)
        )
        self.asked: list[bytes] = []

    async def ask(self, question: bytes) -> Sequence[bytes]:
        """Answer as the only other process."""
        self.asked.append(question)
        return [await self.exchange.answer(question)]

    async def read(self, name: str = "a") -> str:
        return await self.known.read(APP, name, self._ask, len)

    async def _ask(self, repository: str, name: str) -> str:
        del repository, name
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def clock() -> JumpingClock:
    return JumpingClock()


@pytest.fixture
def workers(clock: JumpingClock) -> list[Worker]:
    """Return three: the first hears of the second as a fellow worker, of the third as a server."""
    first, second, third = (Worker(clock) for _ in range(3))
    first.exchange.connect(second.ask, third.ask)
    return [first, second, third]


async def saw(worker: Worker, answer: str | Exception) -> None:
    """Have the database say this to it, and go away again."""
    worker.answer = answer
    if isinstance(answer, Exception):
        with pytest.raises(type(answer)):
            await worker.read()
    else:
        assert await worker.read() == answer
    worker.answer = DatabaseUnavailable("away")


async def test_what_is_unknown_here_is_heard_and_known_from_then_on(
    workers: list[Worker], clock: JumpingClock
) -> None:
    first, second, third = workers
    with pytest.raises(DatabaseUnavailable):
        await first.read()
    await saw(second, "it")
    clock.seconds += SECONDS - 1
    assert await first.read() == "it"
    asked = len(second.asked)
    assert await first.read() == "it"
    assert (len(second.asked), len(third.asked)) == (asked, asked), "asked once"
    clock.seconds += 2  # as old now as where it comes from
    with pytest.raises(DatabaseUnavailable):
        await first.read()


async def test_nobody_is_asked_while_the_database_answers_or_it_is_known_here(
    workers: list[Worker],
) -> None:
    first, second, third = workers
    await saw(first, "mine")
    await saw(second, "theirs")
    assert await first.read() == "mine"
    first.answer = BlobUnknown("no")
    with pytest.raises(BlobUnknown):
        await first.read()
    assert second.asked == third.asked == []


async def test_the_newest_word_wins(workers: list[Worker], clock: JumpingClock) -> None:
    first, second, third = workers
    await saw(third, "old")
    clock.seconds += 1
    await saw(second, "new")
    assert await first.read() == "new"


async def test_what_was_taken_away_later_is_not_heard(
    workers: list[Worker], clock: JumpingClock
) -> None:
    first, second, third = workers
    await saw(third, "it")
    clock.seconds += 1
    await saw(second, BlobUnknown("deleted"))
    with pytest.raises(DatabaseUnavailable):
        await first.read()
    clock.seconds += 1
    await saw(third, "it again")  # the control
    assert await first.read() == "it again"


@pytest.mark.parametrize("all_of_it", [True, False])
async def test_what_was_taken_away_here_is_not_heard_of_those_who_read_it_before(
    workers: list[Worker], clock: JumpingClock, *, all_of_it: bool
) -> None:
    first, second, _ = workers
    await saw(second, "it")
    clock.seconds += 1
    if all_of_it:
        first.known.invalidate_all(APP, lambda _: True)
    else:
        first.known.invalidate(APP, "a")
    with pytest.raises(DatabaseUnavailable):
        await first.read()
    assert second.asked, "it was told, and not believed"
    clock.seconds += 1
    await saw(second, "it")
    assert await first.read() == "it"


async def test_a_server_answers_for_its_workers_and_a_worker_for_itself(
    clock: JumpingClock,
) -> None:
    asking, server, fellow = (Worker(clock) for _ in range(3))
    asking.exchange.connect(asking.ask, server.ask)
    server.exchange.connect(fellow.ask, asking.ask)
    await saw(fellow, "it")
    assert await asking.read() == "it"
    assert (len(server.asked), len(fellow.asked), len(asking.asked)) == (1, 1, 1)
    asking.known.invalidate(APP, "a")
    asking.exchange.connect(server.ask, asking.ask)
    with pytest.raises(DatabaseUnavailable):  # as a fellow worker it does not ask on
        await asking.read()
    assert (len(server.asked), len(fellow.asked)) == (3, 1)


async def test_so_many_questions_at_once_and_no_more(clock: JumpingClock) -> None:
    first, gate, asked = Worker(clock), asyncio.Event(), 0

    async def slow(_: bytes) -> Sequence[bytes]:
        nonlocal asked
        asked += 1
        await gate.wait()
        return []

    async def refused(name: str) -> None:
        with pytest.raises(DatabaseUnavailable):
            await first.read(name)

    first.exchange.connect(slow, slow)
    async with asyncio.TaskGroup() as group:
        for number in range(QUESTIONS_MAX):
            group.create_task(refused(f"{number}"))
        await asyncio.sleep(0)
        while asked < 2 * QUESTIONS_MAX:  # noqa: ASYNC110
            await asyncio.sleep(0)
        await refused("one more")
        assert asked == 2 * QUESTIONS_MAX
        gate.set()
    assert asked == 2 * QUESTIONS_MAX
    await refused("another")
    assert asked == 2 * QUESTIONS_MAX + 2


@given(some.lists(some.binary(max_size=60), max_size=4))
async def test_no_answer_makes_it_fail(answers: list[bytes]) -> None:
    first = Worker(JumpingClock())

    async def say(_: bytes) -> Sequence[bytes]:
        return answers

    first.exchange.connect(say, say)
    with pytest.raises(DatabaseUnavailable):
        await first.read()


@pytest.mark.parametrize(
    "answer", [b'{"age":1,"value":{"x":1}}', b'{"age":"1","value":"it"}', b'{"value":"it"}']
)
async def test_an_answer_of_another_kind_is_none(clock: JumpingClock, answer: bytes) -> None:
    first = Worker(clock)

    async def say(_: bytes) -> Sequence[bytes]:
        return [answer]

    first.exchange.connect(say, say)
    with pytest.raises(DatabaseUnavailable):
        await first.read()


@pytest.mark.parametrize("question", [b"", b"{}", b"[1]", b'{"noun":"thing","repository":1}'])
async def test_what_is_no_question_is_refused(clock: JumpingClock, question: bytes) -> None:
    with pytest.raises(RequestInvalid):
        await Worker(clock).exchange.answer(question)


async def test_of_other_nouns_nothing_is_known(clock: JumpingClock) -> None:
    worker = Worker(clock)
    await saw(worker, "it")
    question = b'{"noun":"password","repository":"alice/app","name":"a","here":true}'
    assert await worker.exchange.answer(question) == b""
    assert await worker.exchange.answer(question.replace(b"password", b"thing")) != b""
    assert worker.known.told(APP, "a") == AgedAnswer("it", 0.0)

"""What others know: the newest word wins, and nothing outlives what it was where it comes from."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as some

from tests.fakes_disk import JumpingClock
from treescale.errors import BlobUnknown, DatabaseAway, RequestInvalid
from treescale.metadata.hearsay import Hearsay, Told, questions_max
from treescale.metadata.known import Known

APP = "alice/app"
SECONDS = 100.0


class Worker:
    """One process: a database that answers or is away, what it knows, and whom it asks."""

    def __init__(self, clock: JumpingClock) -> None:
        self.answer: str | Exception = DatabaseAway("away")
        self.hearsay = Hearsay()
        self.known: Known[str] = Known(
            lambda: None, clock, seconds=SECONDS, topic=self.hearsay.topic("thing", str)
        )
        self.asked: list[bytes] = []

    async def ask(self, question: bytes) -> Sequence[bytes]:
        """Answer as the only other process."""
        self.asked.append(question)
        return [await self.hearsay.tell(question)]

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
    """Return three: the first hears of the second as a sibling, of the third as a server."""
    first, second, third = (Worker(clock) for _ in range(3))
    first.hearsay.connect(second.ask, third.ask)
    return [first, second, third]


async def saw(worker: Worker, answer: str | Exception) -> None:
    """Have the database say this to it, and go away again."""
    worker.answer = answer
    if isinstance(answer, Exception):
        with pytest.raises(type(answer)):
            await worker.read()
    else:
        assert await worker.read() == answer
    worker.answer = DatabaseAway("away")


async def test_what_is_unknown_here_is_heard_and_known_from_then_on(
    workers: list[Worker], clock: JumpingClock
) -> None:
    first, second, third = workers
    with pytest.raises(DatabaseAway):
        await first.read()
    await saw(second, "it")
    clock.seconds += SECONDS - 1
    assert await first.read() == "it"
    asked = len(second.asked)
    assert await first.read() == "it"
    assert (len(second.asked), len(third.asked)) == (asked, asked), "asked once"
    clock.seconds += 2  # as old now as where it comes from
    with pytest.raises(DatabaseAway):
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
    with pytest.raises(DatabaseAway):
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
        first.known.forget_all(APP, lambda _: True)
    else:
        first.known.forget(APP, "a")
    with pytest.raises(DatabaseAway):
        await first.read()
    assert second.asked, "it was told, and not believed"
    clock.seconds += 1
    await saw(second, "it")
    assert await first.read() == "it"


async def test_a_server_answers_for_its_workers_and_a_worker_for_itself(
    clock: JumpingClock,
) -> None:
    asking, server, sibling = (Worker(clock) for _ in range(3))
    asking.hearsay.connect(asking.ask, server.ask)
    server.hearsay.connect(sibling.ask, asking.ask)
    await saw(sibling, "it")
    assert await asking.read() == "it"
    assert (len(server.asked), len(sibling.asked), len(asking.asked)) == (1, 1, 1)
    asking.known.forget(APP, "a")
    asking.hearsay.connect(server.ask, asking.ask)
    with pytest.raises(DatabaseAway):  # as a sibling it does not ask on
        await asking.read()
    assert (len(server.asked), len(sibling.asked)) == (3, 1)


async def test_so_many_questions_at_once_and_no_more(clock: JumpingClock) -> None:
    first, gate, asked = Worker(clock), asyncio.Event(), 0

    async def slow(_: bytes) -> Sequence[bytes]:
        nonlocal asked
        asked += 1
        await gate.wait()
        return []

    async def refused(name: str) -> None:
        with pytest.raises(DatabaseAway):
            await first.read(name)

    first.hearsay.connect(slow, slow)
    async with asyncio.TaskGroup() as group:
        for number in range(questions_max):
            group.create_task(refused(f"{number}"))
        await asyncio.sleep(0)
        while asked < 2 * questions_max:  # noqa: ASYNC110
            await asyncio.sleep(0)
        await refused("one more")
        assert asked == 2 * questions_max
        gate.set()
    assert asked == 2 * questions_max
    await refused("another")
    assert asked == 2 * questions_max + 2


@given(some.lists(some.binary(max_size=60), max_size=4))
async def test_no_answer_makes_it_fail(answers: list[bytes]) -> None:
    first = Worker(JumpingClock())

    async def say(_: bytes) -> Sequence[bytes]:
        return answers

    first.hearsay.connect(say, say)
    with pytest.raises(DatabaseAway):
        await first.read()


@pytest.mark.parametrize(
    "answer", [b'{"age":1,"value":{"x":1}}', b'{"age":"1","value":"it"}', b'{"value":"it"}']
)
async def test_an_answer_of_another_kind_is_none(clock: JumpingClock, answer: bytes) -> None:
    first = Worker(clock)

    async def say(_: bytes) -> Sequence[bytes]:
        return [answer]

    first.hearsay.connect(say, say)
    with pytest.raises(DatabaseAway):
        await first.read()


@pytest.mark.parametrize("question", [b"", b"{}", b"[1]", b'{"noun":"thing","repository":1}'])
async def test_what_is_no_question_is_refused(clock: JumpingClock, question: bytes) -> None:
    with pytest.raises(RequestInvalid):
        await Worker(clock).hearsay.tell(question)


async def test_of_other_nouns_nothing_is_known(clock: JumpingClock) -> None:
    worker = Worker(clock)
    await saw(worker, "it")
    question = b'{"noun":"password","repository":"alice/app","name":"a","here":true}'
    assert await worker.hearsay.tell(question) == b""
    assert await worker.hearsay.tell(question.replace(b"password", b"thing")) != b""
    assert worker.known.told(APP, "a") == Told("it", 0.0)

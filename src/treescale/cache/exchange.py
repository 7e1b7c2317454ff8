"""What other processes of the cluster know, asked while the database is away, and only then.

A worker remembers what it was asked for itself (`answers`); behind a balancer the next request of
the same pull comes to another one. So what a worker does not know it asks of the other workers of
its server and of the other servers, and each of those of its own workers. They answer from memory:
what the database said last and how long ago that was, or that it was taken away since. The newest
word wins. Nothing is decided here: what is heard counts as if the database had said it then, so it
ends when it would have ended where it comes from.

By the same way servers tell each other that something has happened, so that they look sooner.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import msgspec

from treescale.errors import RequestInvalid

QUESTIONS_MAX: Final = 16
"""Of one process at once. Who asks for what nobody knows must not keep the whole cluster busy."""

Value = TypeVar("Value")
Value_co = TypeVar("Value_co", covariant=True)
Asking = Callable[[bytes], Awaitable[Sequence[bytes]]]
"""Takes a question to others and returns those answers that came in time."""


@dataclass(frozen=True, slots=True)
class AgedAnswer(Generic[Value_co]):
    """What the database said `age` seconds ago; None: that it is there no more."""

    value: Value_co | None
    age: float


class _Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    noun: str
    repository: str
    name: str
    here: bool
    """Whether this is from a worker of the same server, who asks the others itself."""


class _Answer(msgspec.Struct, frozen=True):
    age: float
    value: msgspec.Raw


_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are no value of the kind asked for."""
_NULL: Final = b"null"
_UNKNOWN: Final = b""


class AnswerExchange:
    """What one process tells others, and asks of them once `connect` has said how."""

    def __init__(self) -> None:
        self._tellers: dict[str, Callable[[str, str], AgedAnswer[object] | None]] = {}
        self._fellow_workers: Asking = _nobody
        self._servers: Asking = _nobody
        self._asking = 0

    def connect(self, fellow_workers: Asking, servers: Asking) -> None:
        """Ask these from now on: the other workers of this server, and the other servers."""
        self._fellow_workers, self._servers = fellow_workers, servers

    def topic(self, noun: str, kind: type[Value]) -> "Topic[Value]":
        """Return where to hear of one noun, whose values are of this kind."""
        return Topic(self, noun, kind)

    def register(self, noun: str, told: Callable[[str, str], AgedAnswer[object] | None]) -> None:
        """Answer questions about a noun in this way."""
        self._tellers[noun] = told

    async def ask(self, noun: str, repository: str, name: str) -> Sequence[bytes]:
        """Return what others answer; nothing while too many questions are open."""
        if self._asking >= QUESTIONS_MAX:
            return ()
        question = _Question(noun, repository, name, here=False)
        self._asking += 1
        try:
            async with asyncio.TaskGroup() as group:
                near = group.create_task(self._ask_here(question))
                far = group.create_task(self._of_servers(question))
        finally:
            self._asking -= 1
        return (*near.result(), *far.result())

    async def tell_servers(self, noun: str, name: str) -> None:
        """Tell a word of a noun to one worker of each other server that is up; a hint, no more.

        One of a version that does not know the noun answers that it knows nothing of it.
        """
        await self._servers(msgspec.json.encode(_Question(noun, "", name, here=True)))

    async def answer(self, question: bytes) -> bytes:
        """Return the answer to another's question; empty when nothing is known.

        Raises RequestInvalid.
        """
        try:
            asked = msgspec.json.decode(question, type=_Question)
        except _UNREADABLE as error:
            raise RequestInvalid(f"that is no question: {error}") from error
        teller = self._tellers.get(asked.noun)
        if teller is None:
            return _UNKNOWN
        own = teller(asked.repository, asked.name)
        heard = () if asked.here else await self._ask_here(asked)
        return _newest([*heard, _UNKNOWN if own is None else _encoded(own)])

    async def _ask_here(self, question: _Question) -> Sequence[bytes]:
        return await self._fellow_workers(
            msgspec.json.encode(msgspec.structs.replace(question, here=True))
        )

    async def _of_servers(self, question: _Question) -> Sequence[bytes]:
        return await self._servers(msgspec.json.encode(question))


class Topic(Generic[Value]):
    """One noun: what is told of it, and what is heard."""

    def __init__(self, exchange: AnswerExchange, noun: str, kind: type[Value]) -> None:
        self._exchange = exchange
        self._noun = noun
        self._kind = kind

    def answer_with(self, told: Callable[[str, str], AgedAnswer[Value] | None]) -> None:
        """Answer others in this way."""
        self._exchange.register(self._noun, told)

    async def ask(self, repository: str, name: str) -> AgedAnswer[Value] | None:
        """Return the newest that others know; None when they know nothing.

        Its age counts from when they were asked: it is no older than that.
        """
        newest = _newest(await self._exchange.ask(self._noun, repository, name))
        answer = _decoded(newest)
        if answer is None:
            return None
        if bytes(answer.value) == _NULL:
            return AgedAnswer(None, answer.age)
        try:
            return AgedAnswer(msgspec.json.decode(answer.value, type=self._kind), answer.age)
        except _UNREADABLE:
            return None  # of another version: as good as none


def _newest(answers: Iterable[bytes]) -> bytes:
    """Return the answer that is not as old as the others; of equals the one that takes away."""
    found = [(answer, encoded) for encoded in answers if (answer := _decoded(encoded)) is not None]
    return min(
        found,
        key=lambda one: (one[0].age, bytes(one[0].value) != _NULL),
        default=(None, _UNKNOWN),
    )[1]


def _encoded(told: AgedAnswer[object]) -> bytes:
    value = msgspec.Raw(msgspec.json.encode(told.value))
    return msgspec.json.encode(_Answer(max(0.0, told.age), value))


def _decoded(answer: bytes) -> _Answer | None:
    """Return what was answered; None when nothing is known, or another version says it."""
    try:
        found = msgspec.json.decode(answer, type=_Answer) if answer else None
    except _UNREADABLE:
        return None
    return found if found is not None and found.age >= 0 else None


async def _nobody(_: bytes) -> Sequence[bytes]:
    return ()

"""What the database said lately: true as long as nothing has changed, and of use while it is away.

Every reading is kept together with the database's number of changes, asked for *before* it; the
next change of what is answered of, by whichever process, makes that number another one, and what
was kept is no longer `current`'s to give. So an answer of `current` is what the database would have
said at this moment. Where there is no such number, nothing is ever current.

What is no longer certain stays as the *last known* answer, for `read` to give when the database is
away (DatabaseUnavailable), and only then. What a living database denies is forgotten, and so is
what this process changes itself; what was being read meanwhile is not kept. Absence is never
answered with. Bounded in bytes and in age, the least lately used forgotten first. What is not known
here while the database is away may be asked of others (`exchange`), unless this process saw it
taken away later.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from treescale.cache.exchange import AgedAnswer, Topic
from treescale.clock import Clock
from treescale.errors import DatabaseUnavailable, Refused

BYTES_MAX: Final = 16 * 1024 * 1024
"""For each noun, in each worker."""
ENTRY_BYTES: Final = 1024
"""What an entry costs beside its payload, about: no more than 16,384 fit."""
KNOWN_SECONDS_MAX: Final = 24 * 3600.0
"""How long ago the database must have said what is still given while it is away."""

TOMBSTONES_MAX: Final = 4096
"""So many things that were taken away are remembered as such."""

Changes = Callable[[], int | None]
Value = TypeVar("Value")
_NEVER: Final = 0
_ALL: Final = "/"
"""In place of a name, which never is this."""


@dataclass(frozen=True, slots=True)
class ReadMark:
    """When a reading or a write began: after which change, and after which of its like."""

    period: int
    number: int


@dataclass(frozen=True, slots=True)
class _Entry(Generic[Value]):
    value: Value
    size: int
    since: ReadMark
    read: float


class AnswerCache(Generic[Value]):
    """The answers to one kind of question, each named by a repository and a name in it."""

    def __init__(
        self,
        changes: Changes,
        clock: Clock,
        *,
        limit: int = BYTES_MAX,
        seconds: float = KNOWN_SECONDS_MAX,
        topic: Topic[Value] | None = None,
    ) -> None:
        self._changes = changes
        self._clock = clock
        self._limit = limit
        self._seconds = seconds
        self._version: int | None = None
        self._period = _NEVER
        self._number = 0
        self._invalidated = 0
        self._kept: OrderedDict[tuple[str, str], _Entry[Value]] = OrderedDict()
        self._size = 0
        self._tombstones: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._topic = topic
        if topic is not None:
            topic.answer_with(self.told)

    async def read(
        self,
        repository: str,
        name: str,
        ask: Callable[[str, str], Awaitable[Value]],
        size_of: Callable[[Value], int],
        *,
        certain: bool = False,
    ) -> Value:
        """Return what is certainly so, from memory or by asking; the last known while away.

        Raises as `ask` does, and DatabaseUnavailable when nothing is known, or only what was so
        lately and `certain` is asked for.
        """
        found = self.current(repository, name)
        if found is not None:
            return found
        mark = self.begin()
        try:
            found = await ask(repository, name)
        except DatabaseUnavailable:
            if certain:
                raise
            found = self.stale(repository, name)
            if found is None:
                found = await self._heard(repository, name, size_of)
            if found is None:
                raise
            return found
        except Refused:
            self.invalidate(repository, name)
            raise
        self.put(repository, name, found, size_of(found), mark)
        return found

    def current(self, repository: str, name: str) -> Value | None:
        """Return what is kept and still true."""
        period = self._now()
        entry = self._kept.get((repository, name))
        if entry is None or entry.since.period != period or period == _NEVER:
            return None
        self._kept.move_to_end((repository, name))
        return entry.value

    def stale(self, repository: str, name: str) -> Value | None:
        """Return what the database said last, unless that is too long ago."""
        entry = self._kept.get((repository, name))
        if entry is None or self._clock.monotonic() - entry.read > self._seconds:
            return None
        self._kept.move_to_end((repository, name))
        return entry.value

    def told(self, repository: str, name: str) -> AgedAnswer[Value] | None:
        """Return for others what is known, or that it was taken away, and how long ago."""
        now = self._clock.monotonic()
        entry = self._kept.get((repository, name))
        if entry is not None and now - entry.read <= self._seconds:
            return AgedAnswer(entry.value, now - entry.read)
        taken = self._tombstone_at(repository, name)
        return None if taken is None else AgedAnswer(None, now - taken)

    def begin(self) -> ReadMark:
        """Return what `put` or `wrote` is to be told: a reading or a write begins."""
        self._number += 1
        return ReadMark(self._now(), self._number)

    def put(self, repository: str, name: str, value: Value, size: int, mark: ReadMark) -> None:
        """Keep what was read since `mark`, unless something was forgotten, or read, since then."""
        known = self._kept.get((repository, name))
        if mark.number < self._invalidated or (known and known.since.number > mark.number):
            return
        self._insert(repository, name, value, size, mark)

    def wrote(
        self, repository: str, names: Sequence[str], value: Value, size: int, mark: ReadMark
    ) -> None:
        """Know what this process has written since `mark`; nothing when another write crossed it.

        It is not found before it is read: other processes write, too.
        """
        crossed = mark.number < self._invalidated
        for name in names:
            self.invalidate(repository, name)
        if not crossed:
            for name in names:
                self._insert(repository, name, value, size, ReadMark(_NEVER, self._number))

    def invalidate(self, repository: str, name: str) -> None:
        """Know nothing of this, nor of what is being read at this moment."""
        self._number += 1
        self._invalidated = self._number
        self._remove((repository, name))
        self._bury(repository, name)

    def invalidate_all(self, repository: str, which: Callable[[Value], bool]) -> None:
        """Know nothing of those in this repository. Looks at everything: for deletions."""
        self._number += 1
        self._invalidated = self._number
        self._bury(repository, _ALL)
        for key in [
            key for key, entry in self._kept.items() if key[0] == repository and which(entry.value)
        ]:
            self._remove(key)

    def _now(self) -> int:
        """Return the number of the period between two changes; _NEVER while nobody can tell."""
        version = self._changes()
        if version is None:
            self._version = None
            return _NEVER
        if version != self._version:
            self._version = version
            self._period += 1
        return self._period

    async def _heard(
        self, repository: str, name: str, size_of: Callable[[Value], int]
    ) -> Value | None:
        """Return what others know, and know it from then on, with its age."""
        if self._topic is None:
            return None
        asked = self._clock.monotonic()
        told = await self._topic.ask(repository, name)
        if told is None or told.value is None or told.age > self._seconds:
            return None
        read, taken = asked - told.age, self._tombstone_at(repository, name)
        if taken is not None and read <= taken:
            return None
        size = size_of(told.value)
        self._insert(repository, name, told.value, size, ReadMark(_NEVER, _NEVER), read)
        return told.value

    def _bury(self, repository: str, name: str) -> None:
        self._tombstones[repository, name] = self._clock.monotonic()
        self._tombstones.move_to_end((repository, name))
        while len(self._tombstones) > TOMBSTONES_MAX:
            self._tombstones.popitem(last=False)

    def _tombstone_at(self, repository: str, name: str) -> float | None:
        """Return when it was last seen to be taken away, be it with much else."""
        times = [self._tombstones.get((repository, which)) for which in (name, _ALL)]
        return max((time for time in times if time is not None), default=None)

    def _insert(
        self,
        repository: str,
        name: str,
        value: Value,
        size: int,
        mark: ReadMark,
        read: float | None = None,
    ) -> None:
        """Keep it; `read` is when the database said it, now unless told otherwise."""
        key, size = (repository, name), size + ENTRY_BYTES
        self._remove(key)
        if size > self._limit:
            return
        since = self._clock.monotonic() if read is None else read
        self._kept[key] = _Entry(value, size, mark, since)
        self._size += size
        while self._size > self._limit:
            self._remove(next(iter(self._kept)))

    def _remove(self, key: tuple[str, str]) -> None:
        entry = self._kept.pop(key, None)
        if entry is not None:
            self._size -= entry.size

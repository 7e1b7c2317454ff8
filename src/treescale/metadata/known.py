"""What the database said lately: true as long as nothing has changed, and of use while it is away.

Every reading is kept together with the database's number of changes, asked for *before* it; the
next commit, of whichever process, makes that number another one, and what was kept is no longer
`find`'s to give. So an answer of `find` is what the database would have said at this moment. Where
there is no such number, nothing is ever found.

What is no longer certain stays as the *last known* answer, for `read` to give when the database is
away (DatabaseAway), and only then. What a living database denies is forgotten, and so is what this
process changes itself; what was being read meanwhile is not kept. Absence is never answered with.
Bounded in bytes and in age, the least lately used forgotten first. What is not known here while the
database is away may be heard of others (`hearsay`), unless this process saw it taken away later.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from treescale.clock import Clock
from treescale.errors import DatabaseAway, Refused
from treescale.metadata.hearsay import Told, Topic

bytes_max: Final = 16 * 1024 * 1024
"""For each noun, in each worker."""
entry_bytes: Final = 1024
"""What an entry costs beside its payload, about: no more than 16,384 fit."""
known_seconds_max: Final = 24 * 3600.0
"""How long ago the database must have said what is still given while it is away."""

taken_max: Final = 16_384
"""So many things that were taken away are remembered as such."""

Changes = Callable[[], int | None]
Value = TypeVar("Value")
_NEVER: Final = 0
_ALL: Final = "/"
"""In place of a name, which never is this."""


@dataclass(frozen=True, slots=True)
class Mark:
    """When a reading or a write began: after which change, and after which of its like."""

    period: int
    number: int


@dataclass(frozen=True, slots=True)
class _Entry(Generic[Value]):
    value: Value
    size: int
    since: Mark
    read: float


class Known(Generic[Value]):
    """The answers to one kind of question, each named by a repository and a name in it."""

    def __init__(
        self,
        changes: Changes,
        clock: Clock,
        *,
        limit: int = bytes_max,
        seconds: float = known_seconds_max,
        topic: Topic[Value] | None = None,
    ) -> None:
        self._changes = changes
        self._clock = clock
        self._limit = limit
        self._seconds = seconds
        self._version: int | None = None
        self._period = _NEVER
        self._number = 0
        self._forgotten = 0
        self._kept: OrderedDict[tuple[str, str], _Entry[Value]] = OrderedDict()
        self._size = 0
        self._taken: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._topic = topic
        if topic is not None:
            topic.answer(self.told)

    async def read(
        self,
        repository: str,
        name: str,
        ask: Callable[[str, str], Awaitable[Value]],
        size_of: Callable[[Value], int],
    ) -> Value:
        """Return what is certainly so, from memory or by asking; the last known while away.

        Raises as `ask` does, and DatabaseAway when nothing is known.
        """
        found = self.find(repository, name)
        if found is not None:
            return found
        mark = self.begin()
        try:
            found = await ask(repository, name)
        except DatabaseAway:
            found = self.last(repository, name)
            if found is None:
                found = await self._heard(repository, name, size_of)
            if found is None:
                raise
            return found
        except Refused:
            self.forget(repository, name)
            raise
        self.keep(repository, name, found, size_of(found), mark)
        return found

    def find(self, repository: str, name: str) -> Value | None:
        """Return what is kept and still true."""
        period = self._now()
        entry = self._kept.get((repository, name))
        if entry is None or entry.since.period != period or period == _NEVER:
            return None
        self._kept.move_to_end((repository, name))
        return entry.value

    def last(self, repository: str, name: str) -> Value | None:
        """Return what the database said last, unless that is too long ago."""
        entry = self._kept.get((repository, name))
        if entry is None or self._clock.monotonic() - entry.read > self._seconds:
            return None
        self._kept.move_to_end((repository, name))
        return entry.value

    def told(self, repository: str, name: str) -> Told[Value] | None:
        """Return for others what is known, or that it was taken away, and how long ago."""
        now = self._clock.monotonic()
        entry = self._kept.get((repository, name))
        if entry is not None and now - entry.read <= self._seconds:
            return Told(entry.value, now - entry.read)
        taken = self._taken_at(repository, name)
        return None if taken is None else Told(None, now - taken)

    def begin(self) -> Mark:
        """Return what `keep` or `wrote` is to be told: a reading or a write begins."""
        self._number += 1
        return Mark(self._now(), self._number)

    def keep(self, repository: str, name: str, value: Value, size: int, mark: Mark) -> None:
        """Keep what was read since `mark`, unless something was forgotten, or read, since then."""
        known = self._kept.get((repository, name))
        if mark.number < self._forgotten or (known and known.since.number > mark.number):
            return
        self._insert(repository, name, value, size, mark)

    def wrote(
        self, repository: str, names: Sequence[str], value: Value, size: int, mark: Mark
    ) -> None:
        """Know what this process has written since `mark`; nothing when another write crossed it.

        It is not found before it is read: other processes write, too.
        """
        crossed = mark.number < self._forgotten
        for name in names:
            self.forget(repository, name)
        if not crossed:
            for name in names:
                self._insert(repository, name, value, size, Mark(_NEVER, self._number))

    def forget(self, repository: str, name: str) -> None:
        """Know nothing of this, nor of what is being read at this moment."""
        self._number += 1
        self._forgotten = self._number
        self._remove((repository, name))
        self._take(repository, name)

    def forget_all(self, repository: str, which: Callable[[Value], bool]) -> None:
        """Know nothing of those in this repository. Looks at everything: for deletions."""
        self._number += 1
        self._forgotten = self._number
        self._take(repository, _ALL)
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
        read, taken = asked - told.age, self._taken_at(repository, name)
        if taken is not None and read <= taken:
            return None
        size = size_of(told.value)
        self._insert(repository, name, told.value, size, Mark(_NEVER, _NEVER), read)
        return told.value

    def _take(self, repository: str, name: str) -> None:
        self._taken[repository, name] = self._clock.monotonic()
        self._taken.move_to_end((repository, name))
        while len(self._taken) > taken_max:
            self._taken.popitem(last=False)

    def _taken_at(self, repository: str, name: str) -> float | None:
        """Return when it was last seen to be taken away, be it with much else."""
        times = [self._taken.get((repository, which)) for which in (name, _ALL)]
        return max((time for time in times if time is not None), default=None)

    def _insert(
        self,
        repository: str,
        name: str,
        value: Value,
        size: int,
        mark: Mark,
        read: float | None = None,
    ) -> None:
        """Keep it; `read` is when the database said it, now unless told otherwise."""
        key, size = (repository, name), size + entry_bytes
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

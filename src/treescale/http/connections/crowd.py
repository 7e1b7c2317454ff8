"""How many connections there may be, and which go first when there are more: decided here, no I/O.

Strangers (whoever has proven no login on the connection) must not keep others out, and nobody must
fill the table of open files: a server that cannot accept resets everybody, health checks and its
peers included. So when there are too many of one address, or of all, the longest idle stranger
goes, and who comes is let in. The order is

    1. strangers that wait: nothing was asked yet, or the answer has been given
    2. strangers whose request has begun and is not here
    3. strangers at work (an anonymous pull)
    4. those who are logged in, and wait

Somebody at work who is logged in, a peer for instance, is never ended for others.
"""

import heapq
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Protocol, TypeVar

STRANGERS_MAX: Final = 4096
"""In a process, whatever the table holds: each costs memory."""
OF_ONE_ADDRESS_MAX: Final = 1024
OF_ONE_ADDRESS_MIN: Final = 64
"""Of strangers: behind one address may be a whole office."""
RESERVE_MAX: Final = 1024
CONNECTIONS_MIN: Final = 16
ENDED_AT_ONCE: Final = 16
"""So that not each newcomer costs a look at all others."""
IPV6_USER_BITS: Final = 64
"""Whoever has one address has as many as fit into this."""
QUIET_SECONDS: Final = 60.0
"""Without anybody ended for so long it is over."""


class Stage(IntEnum):
    """What a connection does, in the order in which strangers go."""

    WAITING = 0
    ARRIVING = 1
    WORKING = 2


class Guest(Protocol):
    """A connection, as far as it matters here."""

    @property
    def origin(self) -> str | None:
        """Return whose it is: what `origin_of` says; None where many share an address."""
        ...

    @property
    def logged_in(self) -> bool:
        """Say whether a request on it has proven a login."""
        ...

    @property
    def stage(self) -> Stage:
        """Return what it does."""
        ...

    @property
    def since(self) -> float:
        """Return since when, in the loop's seconds."""
        ...

    def end(self) -> None:
        """Close it."""
        ...


AnyGuest = TypeVar("AnyGuest", bound=Guest)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many there may be."""

    connections: int
    strangers: int
    of_one_address: int


def bounds(open_files_max: int, other_files: int) -> Bounds:
    """Return what fits into the table of open files beside other files, with room to spare.

    A connection at work opens more: files of chunks, connections to peers.
    """
    reserve = min(RESERVE_MAX, open_files_max // 4)
    connections = max(CONNECTIONS_MIN, open_files_max - other_files - reserve)
    strangers = min(STRANGERS_MAX, connections)
    each = max(OF_ONE_ADDRESS_MIN, min(OF_ONE_ADDRESS_MAX, strangers // 4))
    return Bounds(connections, strangers, min(each, strangers))


def origin_of(address: str) -> str:
    """Return what counts as one address: an IPv4 address, or the /64 of one of IPv6."""
    if ":" not in address:
        return address
    try:
        found = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(found) >> 64 << 64, IPV6_USER_BITS)))


def first_to_go(guests: Iterable[AnyGuest], wanted: int) -> list[AnyGuest]:
    """Return up to so many guests that go, in their order."""
    able = (guest for guest in guests if not guest.logged_in or guest.stage is Stage.WAITING)
    return heapq.nsmallest(
        wanted, able, key=lambda guest: (guest.logged_in, guest.stage, guest.since)
    )


@dataclass(slots=True)
class Episode:
    """A time in which there were too many: what to log of it when it is over."""

    began: float
    last: float
    ended: int = 0
    refused: int = 0


class Crowd:
    """The connections of a process; to come and go costs next to nothing while there is room."""

    def __init__(self, limits: Bounds) -> None:
        self.bounds = limits
        self.episode: Episode | None = None
        self._guests: dict[Guest, None] = {}
        self._strangers: dict[str, dict[Guest, None]] = {}
        self._number_of_strangers = 0

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._guests)

    def enter(self, guest: Guest, now: float) -> bool:
        """Take somebody in, ending others for it if need be; False when there is no room.

        Whoever enters is a stranger until `logs_in`; `leave` must follow, also after False.
        """
        self._guests[guest] = None
        self._number_of_strangers += 1
        if guest.origin is not None:
            of_address = self._strangers.setdefault(guest.origin, {})
            of_address[guest] = None
            over = len(of_address) - self.bounds.of_one_address
            if over > 0:
                self._end(of_address, guest, over, now)
        over = self._number_of_strangers - self.bounds.strangers
        over = max(over, len(self._guests) - self.bounds.connections)
        return over <= 0 or self._end(self._guests, guest, over, now)

    def logs_in(self, guest: Guest) -> None:
        """Note that somebody is no stranger any more; called once for each, before `leave`."""
        if guest in self._guests:
            self._forget_stranger(guest)

    def leave(self, guest: Guest) -> None:
        """Note that somebody has gone; twice is once."""
        if guest not in self._guests:
            return
        del self._guests[guest]
        if not guest.logged_in:
            self._forget_stranger(guest)

    def make_room(self, now: float) -> bool:
        """End some because the system has no more to give; False when nobody can go."""
        return self._end(self._guests, None, 1, now)

    def is_over(self, now: float) -> Episode | None:
        """Return the episode that has ended just now, and forget it."""
        episode = self.episode
        if episode is None or now - episode.last < QUIET_SECONDS:
            return None
        self.episode = None
        return episode

    def _end(self, guests: dict[Guest, None], new: Guest | None, over: int, now: float) -> bool:
        """End some of these, at least `over`; say whether so many went."""
        wanted = max(over, min(ENDED_AT_ONCE, len(guests) // 8))
        gone = first_to_go((guest for guest in guests if guest is not new), wanted)
        for guest in gone:
            self.leave(guest)
            guest.end()
        if self.episode is None:
            self.episode = Episode(began=now, last=now)
        self.episode.last = now
        self.episode.ended += len(gone)
        refused = new is not None and len(gone) < over
        self.episode.refused += refused
        return len(gone) >= over

    def _forget_stranger(self, guest: Guest) -> None:
        self._number_of_strangers -= 1
        if guest.origin is None:
            return
        of_address = self._strangers[guest.origin]
        del of_address[guest]
        if not of_address:
            del self._strangers[guest.origin]

"""Whether a server is fit to serve, decided from what was last seen of it. Pure.

Readiness is a conjunction of named checks. Each is what somebody saw and when; what was not seen
for too long counts as failed, for a server that cannot look is as good as one that sees trouble.
Every reason is one of a fixed list, so nothing of this machine can get into an answer.

| check | seen by | how |
|---|---|---|
| `database_read` | one worker of the server, every 2 s | it reads from every table |
| `database_write` | the same | its heartbeat is written, every 5 s; the file and its disk |
| `schema` | the same | the tables are of this version, or a newer one |
| `store` | each worker, from memory that all share | a disk of this server can be written |
| `clock` | one worker | this machine's clock against the database's, with each heartbeat |
| `peers` | each worker | what answers its pings of the other servers |
| `ending` | each worker | SIGTERM has come |

Pulls go on from memory without the database, so to be `PULL` a server needs nothing of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final

from treescale.errors import DatabaseTrouble, DatabaseUnavailable, ServerUnknown, StoreFull

STALE_SECONDS: Final = 15.0
"""What was last seen longer ago is not known: three heartbeats."""
CLOCK_SECONDS_MAX: Final = 60.0
"""A clock further off makes tokens and signatures that others do not accept."""
REFUSERS_MIN_FOR_PULLS: Final = 2
"""Of two servers that refuse each other nobody can say which is wrong: both go on pulling."""


class Check(IntEnum):
    """What must be so; the names are part of the answer."""

    DATABASE_READ = 0
    DATABASE_WRITE = 1
    SCHEMA = 2
    STORE = 3
    CLOCK = 4
    PEERS = 5
    ENDING = 6

    @property
    def label(self) -> str:
        """Return the name in the answer."""
        return self.name.lower()


class Reason(IntEnum):
    """Why a check fails."""

    WELL = 0
    NEVER_SEEN = 1
    STALE = 2
    SILENT = 3
    REFUSED = 4
    BUSY = 5
    READ_ONLY = 6
    FULL = 7
    FAILING = 8
    DAMAGED = 9
    MOVED = 10
    SCHEMA = 11
    LATE = 12
    FORGOTTEN = 13
    UNKNOWN = 14
    STORES = 15
    CLOCK = 16
    PEERS = 17
    ENDING = 18


WORDS: Final[Mapping[Reason, str]] = {
    Reason.WELL: "ok",
    Reason.NEVER_SEEN: "not looked at yet",
    Reason.STALE: f"could not be looked at for {STALE_SECONDS:.0f} s",
    Reason.SILENT: DatabaseTrouble.SILENT.value,
    Reason.REFUSED: DatabaseTrouble.REFUSED.value,
    Reason.BUSY: DatabaseTrouble.BUSY.value,
    Reason.READ_ONLY: DatabaseTrouble.READ_ONLY.value,
    Reason.FULL: DatabaseTrouble.FULL.value,
    Reason.FAILING: DatabaseTrouble.FAILING.value,
    Reason.DAMAGED: f"{DatabaseTrouble.DAMAGED.value}: restore it from a backup",
    Reason.MOVED: f"{DatabaseTrouble.MOVED.value}: put the old one back, or restart the server",
    Reason.SCHEMA: DatabaseTrouble.SCHEMA.value,
    Reason.LATE: "it takes too long",
    Reason.FORGOTTEN: "the cluster has forgotten this server: restart it",
    Reason.UNKNOWN: "it fails; the server's log says how",
    Reason.STORES: "no disk of this server can be written",
    Reason.CLOCK: f"this machine's clock is more than {CLOCK_SECONDS_MAX:.0f} s off",
    Reason.PEERS: "more than half of the servers that answer refuse this one",
    Reason.ENDING: "the server is ending",
}
_TROUBLES: Final[Mapping[DatabaseTrouble, Reason]] = {
    trouble: Reason[trouble.name] for trouble in DatabaseTrouble
}


class Purpose(Enum):
    """What somebody wants to do with the server."""

    EVERYTHING = ""
    PUSH = "push"
    PULL = "pull"


NEEDED: Final[Mapping[Purpose, frozenset[Check]]] = {
    Purpose.EVERYTHING: frozenset(Check),
    Purpose.PUSH: frozenset(Check),
    Purpose.PULL: frozenset({Check.PEERS, Check.ENDING}),
}


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen last, and at which monotonic second; None: never."""

    reason: Reason = Reason.WELL
    at: float | None = None


@dataclass(frozen=True, slots=True)
class Around:
    """What a worker knows at once: of its disks, of other servers, of its own end."""

    peers: "PeerCounts"
    stores_writable: bool = True
    """Whether some disk of this server can be written; so without any, which writes on others'."""
    ending: bool = False


@dataclass(frozen=True, slots=True)
class PeerCounts:
    """How many other servers answer, and how many of those refuse this one."""

    answering: int = 0
    refusing: int = 0
    blamed: bool = False
    """Whether this one is known to be wrong: they refuse its clock, and so does the database."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A check and how it ended."""

    check: Check
    reason: Reason

    @property
    def ok(self) -> bool:
        """Say whether it is as it must be."""
        return self.reason is Reason.WELL

    @property
    def words(self) -> str:
        """Return the reason for people."""
        return WORDS[self.reason]


def findings(
    purpose: Purpose, seen: Mapping[Check, Seen], around: Around, now: float
) -> tuple[Finding, ...]:
    """Return the checks that the purpose needs, in order; it is fit when all are `ok`.

    `seen` has what the server looks at in the background; `now` is its monotonic second.
    """
    unsure = purpose is Purpose.PULL and not around.peers.blamed
    refused = _refused(around.peers, REFUSERS_MIN_FOR_PULLS if unsure else 1)
    direct = {
        Check.STORE: Reason.WELL if around.stores_writable else Reason.STORES,
        Check.PEERS: Reason.PEERS if refused else Reason.WELL,
        Check.ENDING: Reason.ENDING if around.ending else Reason.WELL,
    }
    return tuple(
        Finding(check, direct[check] if check in direct else _as_of(now, seen.get(check, Seen())))
        for check in Check
        if check in NEEDED[purpose]
    )


def why(error: BaseException) -> Reason:
    """Return what a look that ended so has seen."""
    if isinstance(error, DatabaseUnavailable):
        return _TROUBLES[error.trouble]
    if isinstance(error, StoreFull):
        return Reason.FULL
    if isinstance(error, ServerUnknown):
        return Reason.FORGOTTEN
    return Reason.LATE if isinstance(error, TimeoutError) else Reason.UNKNOWN


def clock_reason(error_seconds: float) -> Reason:
    """Return what a clock so many seconds off means."""
    return Reason.CLOCK if abs(error_seconds) > CLOCK_SECONDS_MAX else Reason.WELL


def _as_of(now: float, seen: Seen) -> Reason:
    if seen.at is None:
        return Reason.NEVER_SEEN
    if seen.reason is Reason.WELL and now - seen.at > STALE_SECONDS:
        return Reason.STALE
    return seen.reason


def _refused(peers: PeerCounts, refusers_min: int) -> bool:
    return peers.refusing >= refusers_min and 2 * peers.refusing > peers.answering

"""Logins, counted in memory until they are told of: once a minute, and in few rows.

Of a credential and an address the first success of an hour is told: its event has an id that
follows from these, so that of all workers and servers one records it. Refusals are one event a
minute for each account, robots included, and network; names that are no account's are told as none,
since people type passwords there. What a robot did is told in its namespace. However many try, a
worker writes so many of each in a minute, and of refusals so many in an hour; what is left over is
one event more, with a sum. A crash loses a minute.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from sqlalchemy import BindParameter, bindparam, select
from sqlalchemy.engine import Connection

from treescale.auth.guessing import network_key
from treescale.auth.policy import ROBOT_MARK, Principal
from treescale.clock import Clock
from treescale.errors import Failed
from treescale.log import get_logger
from treescale.metadata.engine.connections import Connections
from treescale.metadata.events.recording import (
    ANONYMOUS,
    CHANCE_BYTES,
    REQUEST_ID,
    Event,
    Kind,
    actor_of,
    record_all,
    record_once,
    uuid7,
)
from treescale.metadata.schema import namespaces, robots, users
from treescale.oci.names import robot_parts

HOUR_SECONDS: Final = 3600.0
LAST_SECONDS_MAX: Final = 2.0
KNOWN_MAX: Final = 20_000
"""Logins of this hour that a worker remembers: some megabytes. Those beyond are told as a sum."""
SUCCESSES_MAX: Final = 500
"""Told one by one at a write."""
COUNTED_MAX: Final = 1000
"""Accounts and networks that are told apart between two writes."""
COUNTED_OF_NETWORK_MAX: Final = 50
"""Likewise, of one network: no one drowns what others are refused."""
REFUSALS_MAX: Final = 10
"""Told at a write; and so many times as many within an hour."""
REFUSALS_OF_HOUR_MAX: Final = 100
_THESE: Final[BindParameter[str]] = bindparam("these", expanding=True)
_KNOWN: Final = select(users.c.name).where(users.c.name.in_(_THESE))
_SPACES: Final[BindParameter[str]] = bindparam("spaces", expanding=True)
_ROBOTS: Final[BindParameter[str]] = bindparam("robots", expanding=True)
_KNOWN_ROBOTS: Final = (
    select(namespaces.c.name.label("namespace"), robots.c.name)
    .join(robots, robots.c.namespace_id == namespaces.c.namespace_id)
    .where(namespaces.c.name.in_(_SPACES), robots.c.name.in_(_ROBOTS))
)


@dataclass(frozen=True, slots=True)
class _Login:
    """A success that is told apart."""

    user: str
    token_id: str
    address: str
    hour: int


@dataclass(frozen=True, slots=True)
class _Refused:
    """Refusals that are told together."""

    user: str
    network: str
    reason: str


class Logins:
    """The logins of this worker since it wrote last."""

    def __init__(self, connections: Connections, clock: Clock) -> None:
        self._connections = connections
        self._clock = clock
        self._hour = 0
        self._known: set[_Login] = set()
        self._new: dict[_Login, str] = {}
        """With the request that was the first."""
        self._untold = 0
        self._refused = Counter[_Refused]()
        self._of_network = Counter[str]()
        """How many of these are of each network."""
        self._refusals_told = 0

    def succeeded(self, principal: Principal, address: str, request_id: str) -> None:
        """Note that somebody has logged in from there. Waits for nothing."""
        hour = int(self._clock.now() // HOUR_SECONDS)
        if hour != self._hour:
            self._hour, self._refusals_told = hour, 0
            self._known.clear()
        login = _Login(principal.user, principal.token_id, address, hour)
        if login in self._known:
            return
        if len(self._known) >= KNOWN_MAX or len(self._new) >= SUCCESSES_MAX:
            self._untold += 1
            return
        self._known.add(login)
        self._new[login] = request_id

    def refused(self, user: str, address: str, reason: str) -> None:
        """Count one that was refused; `user` is a name that somebody may have, or "". At once."""
        network = network_key(address)
        one = _Refused(user, network, reason)
        if one not in self._refused:
            if self._of_network[network] >= COUNTED_OF_NETWORK_MAX:
                one = _Refused("", network, reason)
            if one not in self._refused and len(self._refused) >= COUNTED_MAX:
                one = _Refused("", "", reason)
            self._of_network[one.network] += one not in self._refused
        self._refused[one] += 1

    async def write(self) -> None:
        """Record them, if there are any; raises DatabaseUnavailable, and keeps them."""
        new, untold, refused = self._new, self._untold, self._refused
        if not (new or untold or refused):
            return
        self._new, self._untold, self._refused = {}, 0, Counter()
        self._of_network.clear()
        try:
            told = await self._write(new, untold, refused)
        except Failed:
            self._new = {**new, **self._new}
            self._untold += untold
            self._refused.update(refused)
            raise
        self._refusals_told += told

    async def write_last(self) -> None:
        """Record what is left as this process ends; what the database does not take soon is lost.

        Then the log says so.
        """
        try:
            async with asyncio.timeout(LAST_SECONDS_MAX):
                await self.write()
        except (Failed, TimeoutError) as error:
            why = str(error) or "the database takes too long"
            get_logger().warning("logins.unwritten", error=why)

    async def _write(self, new: dict[_Login, str], untold: int, refused: Counter[_Refused]) -> int:
        """Record what was noted; return how many events tell of refusals one by one."""
        left = min(REFUSALS_MAX, max(0, REFUSALS_OF_HOUR_MAX - self._refusals_told))
        names = sorted({each.user for each in refused if each.user})

        def work(connection: Connection) -> int:
            for login, request_id in new.items():
                record_once(connection, _success(login, request_id))
            if untold:
                payload = {"count": untold}
                record_all(connection, [Event(Kind.LOGIN_SUCCEEDED, ANONYMOUS, payload=payload)])
            told = _by_weight(_without_strangers(refused, _known_of(connection, names)))
            record_all(connection, _refusals(told, left))
            return min(left, len(told))

        return await self._connections.write(work, durable=False)


def _known_of(connection: Connection, names: list[str]) -> set[str]:
    """Return which of the names are a user's or a robot's."""
    parts = [found for name in names if (found := robot_parts(name)) is not None]
    known: set[str] = set()
    if names:
        known.update(connection.execute(_KNOWN, {"these": names}).scalars())
    if parts:
        these = {
            "spaces": sorted({namespace for namespace, _ in parts}),
            "robots": sorted({name for _, name in parts}),
        }
        rows = connection.execute(_KNOWN_ROBOTS, these).all()
        known.update(f"{row.namespace}{ROBOT_MARK}{row.name}" for row in rows)
    return known


def _namespace(user: str) -> str | None:
    """Return the namespace in which is told what somebody did."""
    parts = robot_parts(user)
    return parts[0] if parts is not None else user or None


def _success(login: _Login, request_id: str) -> Event:
    payload: dict[str, object] = {"token_id": login.token_id} if login.token_id else {}
    key = "\0".join((login.user, login.token_id, login.address, str(login.hour)))
    chance = hashlib.sha256(b"login\0" + key.encode("utf-8", "surrogatepass")).digest()
    return Event(
        Kind.LOGIN_SUCCEEDED,
        actor_of(login.user),
        namespace=_namespace(login.user),
        payload=payload | {REQUEST_ID: request_id},
        address=login.address,
        event_id=uuid7(login.hour * HOUR_SECONDS, chance[:CHANCE_BYTES]),
    )


def _without_strangers(refused: Counter[_Refused], known: Iterable[str]) -> Counter[_Refused]:
    """Return the counts with names that are no account's left out."""
    users_known, found = {*known}, Counter[_Refused]()
    for one, count in refused.items():
        user = one.user if one.user in users_known else ""
        found[_Refused(user, one.network, one.reason)] += count
    return found


def _by_weight(refused: Counter[_Refused]) -> list[tuple[_Refused, int]]:
    """Return the counts, accounts first: what is tried on them is news to somebody."""
    return sorted(refused.items(), key=lambda item: (not item[0].user, -item[1]))


def _refusals(counted: list[tuple[_Refused, int]], left: int) -> Iterator[Event]:
    """Yield what tells of them: so many one by one, and the sum of the others."""
    for one, count in counted[:left]:
        payload = {"reason": one.reason, "count": count}
        yield Event(
            Kind.LOGIN_REFUSED,
            actor_of(one.user),
            namespace=_namespace(one.user),
            payload=payload,
            address=one.network,
        )
    rest = sum(count for _, count in counted[left:])
    if rest:
        yield Event(Kind.LOGIN_REFUSED, ANONYMOUS, payload={"reason": "several", "count": rest})

"""Permission to stop a server, given to one at a time, so that everything can be pulled on.

It is a lease in the database, whose holder is the server in this run of it: `id/started`. So two
that ask at once are never both told yes, and whoever asks again in the same run is told the same.
Only while it is held are the rows read that decide: nobody else can be let go between. Each of the
other servers must have been heard of since, so one that died a moment ago is noticed.

It is over when the server runs again, up, and the cluster is whole; when it is given back; and
after `PERMISSION_SECONDS`. Then too the next one is told no while anything is away: the lease keeps
two from being told yes together, the rows keep one from being told yes too early.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final

from treescale.clock import Clock
from treescale.cluster.layout import GRACE_SECONDS
from treescale.cluster.liveness import HEARTBEAT_SECONDS
from treescale.cluster.lookup import resolve
from treescale.cluster.queries import read_status
from treescale.cluster.status import ClusterStatus, Condition, in_words, redundancy
from treescale.errors import ServerUnknown
from treescale.metadata.database import Database
from treescale.metadata.records import LeaseRecord, ServerRecord

LEASE: Final = "server.stop"
PERMISSION_SECONDS: Final = GRACE_SECONDS
"""So long a server may be away before what it holds is copied elsewhere."""
PROOF_SECONDS_MAX: Final = 2 * HEARTBEAT_SECONDS
"""So long the others have to be heard of once more."""
POLL_SECONDS: Final = 0.5
AGAIN_SECONDS: Final = 5.0
"""After this time whoever was told to wait may ask again."""

_TAKEN: Final = "wait: another server was asked about just now"


@dataclass(frozen=True, slots=True)
class Permission:
    """The answer to one server."""

    granted: bool
    text: str
    """For people: what it is for, or what has to be waited for."""


def holder_of(server: ServerRecord) -> str:
    """Return what the lease calls a server in this run of it."""
    return f"{server.server_id}/{server.started!r}"


def is_over(lease: LeaseRecord, seen: ClusterStatus) -> bool:
    """Say whether the server that was let go is back, or was forgotten, and all is whole again."""
    server_id, _, started = lease.holder.partition("/")
    server = next((one for one in seen.servers if one.server_id == server_id), None)
    back = server is None or (server.condition is Condition.UP and repr(server.started) != started)
    return back and redundancy(seen).may_stop


def unproven(
    seen: ClusterStatus, servers: Iterable[ServerRecord], asking: str, since: float
) -> list[str]:
    """Return the names of the others that hold chunks and were not heard of since.

    All times are the database's.
    """
    holding = {store.record.server_id for store in seen.stores if store.in_layout} - {asking}
    return sorted(one.name for one in servers if one.server_id in holding and one.seen <= since)


def objection(
    seen: ClusterStatus, servers: Iterable[ServerRecord], asking: str, since: float
) -> str:
    """Return why it must wait, "" when it need not; the lease is held since then."""
    answer = redundancy(seen)
    if not answer.may_stop:
        return answer.text
    known = [*servers]
    names = {server.server_id: server.name for server in known}
    unheard = unproven(seen, known, asking, since)
    if unheard:
        return f"wait: nothing was heard of {', '.join(unheard)} lately"
    unreached = {
        names[peer.server_id]
        for server in known
        if server.seen > since
        for peer in server.unreached
        if peer.server_id in names
    }
    if unreached:
        return f"wait: others do not reach {', '.join(sorted(unreached))}"
    return ""


class Stopping:
    """Hands out the permission, on any server or without one."""

    def __init__(
        self, database: Database, clock: Clock, sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        self._database = database
        self._clock = clock
        self._sleep = sleep

    async def find(self, word: str) -> str:
        """Return the id of the server that is called so; raises ServerUnknown."""
        found = resolve(word, await self._database.servers.list(), ())
        assert found.server is not None, "without stores there are only servers"
        return found.server.server_id

    async def ask(self, server_id: str) -> Permission:
        """Say whether this server may be stopped now; asked again, it is said again.

        Takes as long as the others need to be heard of: `PROOF_SECONDS_MAX` at most. Raises
        ServerUnknown, DatabaseUnavailable.
        """
        holder = holder_of(await self._server(server_id))
        lease = await self._lease()
        seen = (await read_status(self._database, self._clock)).status
        had = lease is not None and lease.holder == holder and lease.until > seen.now
        if lease is not None and lease.holder != holder and is_over(lease, seen):
            await self._database.leases.release(LEASE, lease.holder)
        if await self._database.leases.hold(LEASE, holder, PERMISSION_SECONDS) is None:
            return Permission(granted=False, text=await self.taken(seen) or _TAKEN)
        why = await self._objection(server_id)
        if not why:
            text = f"it may be stopped now; to be back within {in_words(PERMISSION_SECONDS)}"
            return Permission(granted=True, text=text)
        if not had:
            await self._database.leases.release(LEASE, holder)
        return Permission(granted=False, text=why)

    async def give_back(self, server_id: str) -> None:
        """Let the next one have it, whichever run of the server got it; twice is once."""
        lease = await self._lease()
        if lease is not None and lease.holder.partition("/")[0] == server_id:
            await self._database.leases.release(LEASE, lease.holder)

    async def taken(self, seen: ClusterStatus) -> str:
        """Return who has it, and what that means for others; "" when it is free."""
        lease = await self._lease()
        if lease is None or lease.until <= seen.now or is_over(lease, seen):
            return ""
        server_id = lease.holder.partition("/")[0]
        names = {one.server_id: f"{one.name} ({one.address})" for one in seen.servers}
        return (
            f"wait: {names.get(server_id, server_id)} may be stopped, or is not back; that is over "
            f"in {in_words(lease.until - seen.now)} at the latest"
        )

    async def _server(self, server_id: str) -> ServerRecord:
        for server in await self._database.servers.list():
            if server.server_id == server_id:
                return server
        raise ServerUnknown(f"the cluster knows no server {server_id}")

    async def _lease(self) -> LeaseRecord | None:
        leases = await self._database.leases.list()
        return next((lease for lease in leases if lease.name == LEASE), None)

    async def _objection(self, server_id: str) -> str:
        """Wait until each of the others was heard of, for a while; return what speaks against."""
        since = await self._database.servers.now()
        until = self._clock.monotonic() + PROOF_SECONDS_MAX
        while True:
            servers = await self._database.servers.list()
            seen = (await read_status(self._database, self._clock)).status
            why = objection(seen, servers, server_id, since)
            waits = redundancy(seen).may_stop and unproven(seen, servers, server_id, since)
            if not waits or self._clock.monotonic() >= until:
                return why
            await self._sleep(POLL_SECONDS)

"""What `Stopping` promises on every database: of the servers of a cluster, one may be stopped."""

import asyncio
from collections.abc import Sequence

import pytest

from treescale.chunks.format.placement import PARTITIONS
from treescale.clock import SystemClock
from treescale.cluster.membership import Membership, join
from treescale.errors import ServerUnknown
from treescale.maintenance.stopping import LEASE, PROOF_SECONDS_MAX, Stopping
from treescale.metadata.database import Database
from treescale.metadata.records import ServerRecord, StoreRecord, StoreReport, StoreWalk, Unreached
from treescale.metadata.work import Leases

NAMES = ("A", "B", "C")
BEGUN = 1_700_000_000.0


class Clock(SystemClock):
    """A monotonic clock that goes as fast as those who wait sleep."""

    def __init__(self) -> None:
        self.slept = 0.0

    def monotonic(self) -> float:
        """Return what was slept."""
        return self.slept


class Servers:
    """Servers with a store each: those that live say so whenever somebody waits."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.living = set(NAMES)
        self.unreached: dict[str, Sequence[Unreached]] = {}
        self.clock = Clock()
        self.stopping = Stopping(database, self.clock, self.sleep)

    async def start(self, *names: str, run: int = 0) -> None:
        """Start these, which have done all that there is to do."""
        for name in names:
            record = ServerRecord(name, f"host-{name}", f"http://{name}", "", started=BEGUN + run)
            store = StoreRecord(name * 32, record.name, "/data", "", 1.0, BEGUN, server_id=name)
            await join(self.database, record, [store], alone=False)
            self.living.add(name)
        await self.beat()

    async def beat(self) -> None:
        """Have all that live say so, and that they have nothing left to do."""
        for name in sorted(self.living):
            membership = Membership(self.database, name, SystemClock())
            reports = [StoreReport(name * 32, 100, 50)]
            await membership.heartbeat(reports, None, self.unreached.get(name, ()))
        layout = await self.database.layouts.latest()
        assert layout is not None
        for name in NAMES:
            await self.walked(name, layout.number)

    async def walked(self, name: str, layout: int, pending: int = 0) -> None:
        """Note where a store's walk stands."""
        await self.database.walks.put(
            StoreWalk(name * 32, layout, pending, 0, 0, rate=0, looked=BEGUN, verified=BEGUN)
        )

    async def stop(self, name: str) -> None:
        """Stop a server as an administrator does."""
        self.living.discard(name)
        await self.database.servers.mark_stopped(name)

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.slept += seconds
        await self.beat()
        await asyncio.sleep(0)

    async def may(self, name: str) -> bool:
        """Ask for one."""
        return (await self.stopping.ask(name)).granted


class StoppingContract:
    """Subclass with a `database` fixture."""

    @pytest.fixture
    async def servers(self, database: Database) -> Servers:
        servers = Servers(database)
        await servers.start(*NAMES)
        return servers

    async def test_of_all_that_ask_at_once_one_gets_it(self, servers: Servers) -> None:
        answers = await asyncio.gather(*map(servers.may, NAMES))
        assert sum(answers) == 1
        (granted,) = (name for name, yes in zip(NAMES, answers, strict=True) if yes)
        assert await servers.may(granted), "asked again it is told the same"
        for name in set(NAMES) - {granted}:
            answer = await servers.stopping.ask(name)
            assert f"host-{granted} (http://{granted}) may be stopped, or is not" in answer.text

    async def test_control_without_the_lease_all_get_it(
        self, servers: Servers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def hold(self: Leases, name: str, holder: str, seconds: float) -> int:  # noqa: ARG001
            return 1

        monkeypatch.setattr(Leases, "hold", hold)
        assert await asyncio.gather(*map(servers.may, NAMES)) == [True, True, True]

    async def test_it_is_over_when_the_server_is_back_and_all_is_whole(
        self, servers: Servers
    ) -> None:
        assert await servers.may("A")
        await servers.stop("A")
        assert not await servers.may("B")
        await servers.start("A", run=1)
        layout = await servers.database.layouts.latest()
        assert layout is not None
        await servers.walked("A", layout.number, pending=PARTITIONS)
        assert not await servers.may("B"), "it has still to be looked at"
        await servers.beat()
        assert await servers.may("B")
        assert not await servers.may("A"), "now the other one has it"

    async def test_it_is_over_when_it_is_given_back(self, servers: Servers) -> None:
        assert await servers.may("A")
        await servers.stopping.give_back("B")
        assert not await servers.may("B")
        for _ in range(2):
            await servers.stopping.give_back("A")
        assert await servers.may("B")

    async def test_it_is_over_with_time_yet_nobody_is_let_go_while_one_is_away(
        self, servers: Servers
    ) -> None:
        assert await servers.may("A")
        await servers.stop("A")
        (lease,) = await servers.database.leases.list()
        await servers.database.leases.hold(LEASE, lease.holder, -1.0)
        answer = await servers.stopping.ask("B")
        assert not answer.granted
        assert "stores of host-A are away" in answer.text
        await servers.start("A", run=1)
        assert await servers.may("C"), "a refusal keeps nothing"

    async def test_one_that_died_just_now_is_noticed(self, servers: Servers) -> None:
        """Its row says that it lives, for 15 s."""
        servers.living.discard("C")
        answer = await servers.stopping.ask("A")
        assert not answer.granted
        assert answer.text == "wait: nothing was heard of host-C lately"
        assert servers.clock.slept >= PROOF_SECONDS_MAX
        assert await servers.may("C"), "what is dead may be stopped"

    async def test_one_that_others_do_not_reach_counts_as_away(self, servers: Servers) -> None:
        servers.unreached["B"] = [Unreached("C", "no way there")]
        answer = await servers.stopping.ask("A")
        assert (answer.granted, answer.text) == (False, "wait: others do not reach host-C")

    async def test_who_was_forgotten_keeps_nobody_waiting(self, servers: Servers) -> None:
        gateway = ServerRecord("G", "host-G", "http://G", "", started=BEGUN)
        await join(servers.database, gateway, [], alone=False)
        assert await servers.may("G")
        assert not await servers.may("A")
        await servers.database.servers.remove("G", actor="cli")
        assert await servers.may("A")
        with pytest.raises(ServerUnknown):
            await servers.stopping.ask("G")

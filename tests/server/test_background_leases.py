"""Leases and leads that fail in a way nobody thought of: a failure of their job, and no more."""

import asyncio
import errno

from tests.server.test_background import (
    LIMIT,
    PERIOD,
    MemoryLeases,
    Overlap,
    Worked,
    logged,
    nothing,
    periodic,
    runner,
)
from tests.virtualtime import virtual
from treescale.server.background import Job, Scope
from treescale.server.processes.leader_lock import LEASE_SECONDS


@virtual
async def test_a_lease_that_fails_in_an_odd_way_is_a_failure_and_ends_nothing() -> None:
    leases, good = MemoryLeases(odd={"a"}), Worked(nothing)
    with logged("background.failed") as lines:
        async with runner(leases, "a") as a:
            a.register(periodic(good, scope=Scope.CLUSTER))
            await asyncio.sleep(PERIOD + 1)
            assert a.counts["job"].failures > 0
            leases.odd.clear()
            await asyncio.sleep(2 * PERIOD)
            assert good.begun != []
            leases.odd.add("a")
    assert lines[0]["error"] == "odd"


@virtual
async def test_a_renewal_that_fails_in_an_odd_way_ends_that_run_alone() -> None:
    both, other = Overlap(), Worked(nothing)
    with logged("background.unrenewed") as lines:
        async with runner(both.leases, "a") as a:
            a.register(both.job(a, "a", 1e6, None))
            a.register(Job("other", other, "nothing", PERIOD, LIMIT))
            await asyncio.sleep(1)
            both.leases.odd.add("a")
            await asyncio.sleep(LEASE_SECONDS)
            runs = len(other.begun)
            assert a.counts["job"].reason == "odd"
            await asyncio.sleep(2 * PERIOD)
            assert len(other.begun) > runs
    assert lines[0]["job"] == "job"


@virtual
async def test_a_lead_that_cannot_be_asked_for_is_a_failure_and_ends_nothing() -> None:
    def no_locks() -> bool:
        raise OSError(errno.ENOLCK, "no locks available")

    async with runner(leads=no_locks) as a:
        a.register(periodic(Worked(nothing), scope=Scope.SERVER))
        await asyncio.sleep(3 * PERIOD)
        assert a.counts["job"].failures > 0

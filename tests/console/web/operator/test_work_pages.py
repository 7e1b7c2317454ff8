"""What can be done: what it does is said first, and who did it is who signed in."""

from dataclasses import replace

import pytest

from tests.api.client import Client
from tests.api.running import Running
from tests.console.web.browser import Browser
from tests.console.web.operator.conftest import SERVERS, STORES
from tests.console.web.operator.stream import parts_of
from treescale.metadata.records import JobState

CLUSTER = "/-/cluster"


async def test_a_server_is_drained_and_taken_back(
    administrator: Browser, registry: Running
) -> None:
    path = f"{CLUSTER}/targets/{SERVERS['two']}"
    page = (await administrator.get(path)).expect(200)
    assert "moves to the other servers, and is read the whole time" in page.words
    moved = (await administrator.post(f"{path}/drain")).expect(303)
    states = {one.store_id: one.state.value for one in await registry.parts.database.stores.list()}
    assert states[STORES["two"]] == "draining"
    page = (await administrator.get(moved.location)).expect(200)
    assert "It is draining." in page.words
    assert "To be waited for" in page.words
    (await administrator.post(f"{path}/undrain")).expect(303)
    assert {one.state.value for one in await registry.parts.database.stores.list()} == {"active"}
    (await administrator.get(f"{CLUSTER}/targets/nobody")).expect(404)


@pytest.mark.parametrize("kind", ["verify", "repair", "collect"])
async def test_work_is_asked_of_all_stores_and_followed(
    administrator: Browser, registry: Running, kind: str
) -> None:
    jobs = registry.parts.database.jobs
    assert "What it will do" in (await administrator.get(f"{CLUSTER}/work/{kind}")).words
    assert await jobs.recent(10) == []
    moved = (await administrator.post(f"{CLUSTER}/work/{kind}")).expect(303)
    parts = await jobs.recent(10)
    assert {(one.kind, one.actor) for one in parts} == {(kind, "root")}
    page = (await administrator.get(moved.location)).expect(200)
    assert "0 of 3 stores" in page.words
    path = moved.location.partition("?")[0]
    async with parts_of(administrator, f"{path}/live") as live:
        await live.until("job-progress", "0 of 3 stores")
        await jobs.report(replace(parts[0], state=JobState.RUNNING, done=1024, total=4096))
        await live.until("job-progress", "1,024 of 4,096 partitions")
        for part in parts:
            await jobs.report(replace(part, state=JobState.DONE, done=4096, total=4096))
        await live.until("job-progress", "3 of 3 stores")
        await live.until("job-report", "Nothing is lost, and nothing was rotten.")
    assert kind in (await administrator.get(CLUSTER)).words


async def test_a_dry_run_takes_nothing(
    administrator: Browser, registry: Running, alice: Client
) -> None:
    await alice.repository("alice/app").push_image("v1", b"a layer")
    page = (await administrator.post(f"{CLUSTER}/work/collect-check")).expect(200)
    assert "What would go" in page.words
    assert "Nothing: no row is due." in page.words
    assert {one.kind for one in await registry.parts.database.jobs.recent(10)} == {"collect-check"}


async def test_read_only_is_begun_and_ended(administrator: Browser, registry: Running) -> None:
    path, switches = f"{CLUSTER}/read-only", registry.parts.database.read_only
    page = (await administrator.get(path)).expect(200)
    assert page.field("read_only") == "on"
    assert not await switches.cluster()
    moved = (await administrator.post(path, read_only="on")).expect(303)
    assert await switches.cluster()
    page = await administrator.get(moved.location)
    assert "The registry is read-only now" in page.words
    (await administrator.post(path, read_only="off")).expect(303)
    assert not await switches.cluster()


async def test_a_form_of_somebody_else_does_nothing(
    administrator: Browser, other: Browser, alice: Client, registry: Running
) -> None:
    await other.sign_in("alice", alice.password)
    paths = (
        f"{CLUSTER}/targets/{SERVERS['two']}/drain",
        f"{CLUSTER}/work/verify",
        f"{CLUSTER}/read-only",
    )
    token, administrator.form_token = administrator.form_token, other.form_token
    for path in paths:
        (await other.post(path, read_only="on")).expect(403)
        (await administrator.post(path, read_only="on")).expect(403)
    database = registry.parts.database
    assert not await database.read_only.cluster()
    assert await database.jobs.recent(10) == []
    assert {one.state.value for one in await database.stores.list()} == {"active"}
    administrator.form_token = token  # the control: with its own it does
    (await administrator.post(paths[2], read_only="on")).expect(303)
    assert await database.read_only.cluster()

"""Settings, servers and jobs by the API: for administrators, as the commands have it."""

from dataclasses import replace

import pytest

from tests.api.client import Client
from tests.api.running import Running
from tests.console.asked import ask
from tests.console.test_api import STORE, problem
from treescale.maintenance.planning.findings import Findings, packed
from treescale.metadata.database import Database
from treescale.metadata.records import JobState

SETTINGS = "/cluster/settings"


@pytest.fixture
async def stored(registry: Running) -> Database:
    """A cluster that knows a store of which nothing is heard."""
    await registry.parts.database.stores.register(STORE)
    return registry.parts.database


async def test_settings_are_seen_and_set(registry: Running, root: Client, alice: Client) -> None:
    listed = (await ask(root, "GET", SETTINGS)).expect(200).json["settings"]
    assert listed["undelete"] is None
    for name, value, seconds in (("undelete", "2d", 172_800.0), ("untagged", "keep", None)):
        done = (await ask(root, "PUT", f"{SETTINGS}/{name}", {"value": value})).expect(200).json
        assert done["result"] == {name: seconds}
        assert f"{name} is {value}" in done["told"]
    assert (await ask(root, "GET", f"{SETTINGS}/undelete")).json["value"] == "172800s"
    for name, value, says in (
        ("copies", "9", "needs as many stores"),
        ("lease", "1s", "lease"),
        ("hooks", "maybe", "say hooks=on"),
    ):
        refused = await ask(root, "PUT", f"{SETTINGS}/{name}", {"value": value})
        assert says in problem(refused, 400, "field")["detail"]
    told = problem(await ask(root, "PUT", f"{SETTINGS}/colour", {"value": "x"}), 404, "unknown")
    assert "undelete" in told["detail"]
    problem(await ask(alice, "GET", SETTINGS), 403, "forbidden")
    assert await registry.parts.database.settings.get("hooks") is None


async def test_who_edits_from_an_old_page_is_told(root: Client, alice: Client) -> None:
    (await alice.repository("alice/app").push_image("v1", b"a layer")).keys()
    (await ask(root, "POST", "/organisations", {"name": "acme", "owner": "alice"})).expect(200)
    for who, path, first, second in (
        (root, f"{SETTINGS}/hooks", {"value": "off"}, {"value": "on"}),
        (alice, "/organisations/acme", {"visibility": "internal"}, {"visibility": "public"}),
        (alice, "/visibility/alice%2Fapp", {"visibility": "internal"}, {"visibility": "public"}),
    ):
        seen = (await ask(who, "GET", path)).expect(200).headers["ETag"]
        done = (await ask(who, "PUT", path, first, **{"If-Match": seen})).expect(200)
        late = await ask(who, "PUT", path, second, **{"If-Match": seen})
        problem(late, 412, "precondition")
        now = done.headers["ETag"]
        assert now == (await ask(who, "GET", path)).headers["ETag"] != seen
        (await ask(who, "PUT", path, second, **{"If-Match": f'"x", {now}'})).expect(200)
        (await ask(who, "PUT", path, first, **{"If-Match": "*"})).expect(200)


async def test_a_store_is_drained_and_taken_back(stored: Database, root: Client) -> None:
    path = "/cluster/targets/%2Fdata"
    assert (await ask(root, "GET", path)).expect(200).json == {
        "target": f"away:/data ({STORE.store_id})",
        "stores": [STORE.store_id],
        "fewer_copies": None,
        "draining": [],
    }
    done = (await ask(root, "POST", f"{path}/drain")).expect(200).json
    assert (done["state"], done["in_layout"]) == ("draining", False)
    assert (await ask(root, "GET", path)).json["draining"] == [STORE.store_id]
    assert (await ask(root, "GET", f"{path}/waiting")).expect(200).json["waiting"]
    assert (await ask(root, "POST", f"{path}/undrain")).expect(200).json["state"] == "active"
    refused = await ask(root, "POST", f"{path}/forget", {})
    assert "is in use" in problem(refused, 400, "refused")["detail"]
    problem(await ask(root, "GET", "/cluster/targets/none"), 404, "unknown")
    assert [one.state.value for one in await stored.stores.list()] == ["active"]


async def test_a_job_is_followed_to_its_end(stored: Database, root: Client) -> None:
    begun = (await ask(root, "POST", "/jobs", {"kind": "repair"})).expect(200).json
    assert begun["rows"] is None
    path = f"/jobs/{begun['job']}"
    report = (await ask(root, "GET", path)).expect(200).json
    assert (report["ended"], report["kind"]) == (False, "repair")
    assert [(one["store"], one["state"]) for one in report["parts"]] == [
        (STORE.store_id, "waiting")
    ]
    (part,) = await stored.jobs.parts(begun["job"])
    found = packed(Findings(fetched=3, rotten=1, rotten_chunks=["ab" * 32]))
    await stored.jobs.report(replace(part, state=JobState.DONE, done=4096, problems=found))
    report = (await ask(root, "GET", path)).expect(200).json
    assert (report["ended"], report["rotten"]) == (True, {"ab" * 32: []})
    assert report["parts"][0]["findings"]["fetched"] == 3
    problem(await ask(root, "GET", "/jobs/none"), 404, "unknown")
    problem(await ask(root, "POST", "/jobs", {"kind": "dance"}), 400, "field")


async def test_a_collection_takes_rows_first(stored: Database, root: Client) -> None:
    del stored
    for kind in ("collect-check", "collect"):
        begun = (await ask(root, "POST", "/jobs", {"kind": kind})).expect(200).json
        assert begun["rows"]["untagged"] == 0
        assert begun["rows_due"] == []

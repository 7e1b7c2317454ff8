"""Conditions with real processes: two workers, and two servers on one PostgreSQL."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.functional.conftest import Serve
from tests.functional.server import Account, Options, Server
from tests.functional.wire import Answer, Wire

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
JOBS = 8
CHILDREN = 20_000


def index(*numbers: int) -> bytes:
    """Return an index of manifests that need not be there."""
    manifests = [
        {"mediaType": MANIFEST, "size": 9, "digest": f"sha256:{number:064x}"} for number in numbers
    ]
    return json.dumps(
        {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}, separators=(",", ":")
    ).encode()


def put(wire: Wire, reference: str, data: bytes, **conditions: str) -> Answer:
    headers = {name.replace("_", "-"): value for name, value in conditions.items()}
    path = f"/v2/{OWNER}/app/manifests/{reference}"
    return wire.request("PUT", path, data, {"Content-Type": INDEX, **headers})


def read(wire: Wire, reference: str) -> Answer:
    return wire.request("GET", f"/v2/{OWNER}/app/manifests/{reference}").expect(200)


OWNER = "heidi"


def one_of_all(wires: Sequence[Wire]) -> None:
    """Of pushes at once, under a condition that one can meet, one is done and the others know."""
    put(wires[0], "old", index()).expect(201)
    etag = read(wires[0], "old").headers["ETag"]
    for number in range(10):
        tag = f"t{number}"
        conditions = {"If_None_Match": "*"}
        if number % 2:
            put(wires[0], tag, index()).expect(201)
            conditions = {"If_Match": etag}
        with ThreadPoolExecutor(JOBS) as threads:
            answers = list(
                threads.map(
                    lambda job, tag=tag, conditions=conditions: put(
                        wires[job % len(wires)], tag, index(job), **conditions
                    ),
                    range(JOBS),
                )
            )
        statuses = [answer.status for answer in answers]
        assert sorted(statuses) == [201] + [412] * (JOBS - 1)
        for wire in wires:
            assert read(wire, tag).body == index(statuses.index(201))


def adds(wire: Wire, numbers: Sequence[int]) -> int:
    """Add to an index as careful jobs do; return how often another came first."""
    late = 0
    for number in numbers:
        while True:
            found = read(wire, "index")
            there = [int(each["digest"][7:], 16) for each in found.json()["manifests"]]
            data = index(*there, number)
            answer = put(wire, "index", data, If_Match=found.headers["ETag"])
            if answer.status == 201:
                break
            answer.expect(412)
            late += 1
    return late


def nothing_is_lost(wires: Sequence[Wire]) -> None:
    put(wires[0], "index", index()).expect(201)
    with ThreadPoolExecutor(JOBS) as threads:
        work = [range(job * 5 + 1, job * 5 + 6) for job in range(JOBS)]
        late = list(threads.map(lambda job: adds(wires[job % len(wires)], work[job]), range(JOBS)))
    found: list[dict[str, Any]] = read(wires[-1], "index").json()["manifests"]
    assert sorted(int(each["digest"][7:], 16) for each in found) == list(range(1, 5 * JOBS + 1))
    assert sum(late) > 0, "no two of the jobs ever met: this shows nothing"


def wires_of(servers: Sequence[Server], account: Account) -> list[Wire]:
    """Return somebody's connections to each; each has a token, so that threads fetch none."""
    wires = [Wire(server, account) for server in servers]
    for wire in wires:
        put(wire, "warm", index(1)).expect(201)
    return wires


def test_two_workers_on_sqlite(serve: Serve) -> None:
    server = serve(Options(workers=2))
    wires = wires_of([server], server.add_user(OWNER))
    one_of_all(wires)
    nothing_is_lost(wires)


def test_two_servers_on_postgresql(serve: Serve, postgres_url: str) -> None:
    servers = [serve(Options(workers=2, database=postgres_url)) for _ in range(2)]
    wires = wires_of(servers, servers[0].add_user(OWNER))
    one_of_all(wires)
    nothing_is_lost(wires)
    put(wires[0], "old", index()).expect(201)
    moved = put(wires[1], "old", index(1)).expect(201).headers["Docker-Content-Digest"]
    path = f"/v2/{OWNER}/app/manifests/old"
    for wire, listed, status in ((wires[0], "sha256:0", 412), (wires[1], moved, 202)):
        wire.request("DELETE", path, headers={"If-Match": f'"{listed}"'}).expect(status)
    wires[0].request("GET", path).expect(404)


def test_an_index_of_twenty_thousand_manifests(serve: Serve, postgres_url: str) -> None:
    """More than any database takes as parameters of one statement."""
    for options in (Options(workers=1), Options(workers=1, database=postgres_url)):
        server = serve(options)
        wire = Wire(server, server.add_user(OWNER))
        data = index(*range(CHILDREN)).ljust(4 * 1024 * 1024)
        put(wire, "many", data).expect(201)
        assert read(wire, "many").body == data
        put(wire, "many", data + b" ").expect(413)

"""Today's server on what version 0.1.0 left: all is there, and no command is needed before."""

import hashlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.v010 import DUMP, Left, content, unpacked
from tests.functional.programs import wait_until
from tests.functional.server import Account, Options, Server
from tests.functional.wire import Unavailable, Wire
from tests.images import sha256_of
from tests.postgres import Postgres, program

OLD_SESSIONS = {"TREESCALE_UPLOAD_IDLE_SECONDS_MAX": str(100 * 365 * 86_400)}
"""The session in there is as old as that version."""


class Later(Server):
    """A server of today that keeps old sessions."""

    def _environment(self) -> dict[str, str]:
        return super()._environment() | OLD_SESSIONS


@dataclass(frozen=True)
class Found:
    """What was left, and servers that run on it."""

    left: Left
    servers: list[Server]

    def account(self, name: str) -> Account:
        """Return somebody who had an account."""
        expected = self.left.expected
        return Account(name, {"admin": expected["admin"], **expected["users"]}[name])

    def takes_pushes(self) -> bool:
        """Say whether every server reaches enough stores for a push, as it does within 5 s."""
        bob = self.account("bob")
        try:
            for server in self.servers:
                Wire(server, bob).push_blob("bob/secret", content("of today", 100_000))
        except Unavailable:
            return False
        return True


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def found(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Found]:
    """Start today's servers on a copy; no test takes away what another looks for."""
    home = tmp_path_factory.mktemp("left")
    left = unpacked(request.param, home)
    url = ""
    if request.param == "postgresql":
        postgres: Postgres = request.getfixturevalue("postgres")
        url = restored(postgres, home / DUMP)
    servers = [
        Later(disks[0].parent, Options(workers=2, disks=len(disks), database=url))
        for disks in left.data
    ]
    try:
        found = Found(left, [server.start() for server in servers])
        wait_until("all have met", found.takes_pushes, seconds=15)
        yield found
    finally:
        for server in servers:
            server.crash()


def restored(postgres: Postgres, dump: Path) -> str:
    """Read a dump into a database of its own, and return its URL."""
    name = f"left_{next(postgres.numbers)}"
    made = [program("createdb"), "--maintenance-db", postgres.url("postgres"), name]
    subprocess.run(made, check=True)
    url = postgres.url(name)
    read = [program("psql"), "-q", "-v", "ON_ERROR_STOP=1", "-f", str(dump), url]
    subprocess.run(read, check=True, capture_output=True)
    return url


def name_of(like: str, data: bytes) -> str:
    """Return the digest of the data, by the algorithm of this one."""
    algorithm = like.partition(":")[0]
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def test_everything_is_pulled_back(found: Found) -> None:
    for server in found.servers:
        for one in found.left.expected["blobs"]:
            wire = Wire(server, found.account(one["user"]))
            data = wire.pull_blob(one["repository"], one["digest"])
            assert name_of(one["digest"], data) == one["digest"]
        for one in found.left.expected["manifests"]:
            wire = Wire(server, found.account(one["user"]))
            for reference in (one["reference"], one["digest"]):
                path = f"/v2/{one['repository']}/manifests/{reference}"
                data = wire.request("GET", path).expect(200).body
                assert name_of(one["digest"], data) == one["digest"]


def test_what_refers_and_what_is_public_stays_so(found: Found) -> None:
    server, *_ = found.servers
    (public,) = found.left.expected["public"]
    subject = manifest(found, public, "1")["digest"]
    path = f"/v2/{public}/referrers/{subject}"
    (referrer,) = Wire(server).request("GET", path).expect(200).json()["manifests"]
    assert referrer["artifactType"] == "application/vnd.example.sbom"
    Wire(server).request("GET", f"/v2/{public}/manifests/1").expect(200)
    bob = Wire(server, found.account("bob"))
    bob.request("GET", f"/v2/{public}/manifests/1").expect(200)
    bob.request("GET", "/v2/alice/multi/manifests/1").expect(401)


def test_who_could_log_in_still_can_and_nobody_else(found: Found) -> None:
    server, *_ = found.servers
    expected = found.left.expected
    for name in ("admin", *expected["users"]):
        Wire(server, found.account(name)).with_basic("GET", "/v2/").expect(200)
        Wire(server, Account(name, "a guess")).with_basic("GET", "/v2/").expect(401)
    for name, secret in (*expected["revoked"], *expected["removed"].items()):
        Wire(server, Account(name, secret)).with_basic("GET", "/v2/").expect(401)
    both, only_pull = (Wire(server, Account(*token)) for token in expected["tokens"])
    digest = both.push_blob("alice/app", b"pushed with an old token")
    assert only_pull.pull_blob("alice/app", digest)
    only_pull.request("POST", "/v2/alice/app/blobs/uploads/").expect(401)


def test_the_upload_goes_on(found: Found) -> None:
    server, *_ = found.servers
    upload = found.left.expected["upload"]
    wire, data = Wire(server, found.account(upload["user"])), content(*upload["content"])
    at = upload["sent"]
    status = wire.request("GET", upload["location"]).expect(204)
    assert status.headers["Range"] == f"0-{at - 1}"
    place = wire.request("PATCH", upload["location"], data[at : at + 700_000]).expect(202).location
    wire.finish_upload(place, upload["digest"], data[at + 700_000 :]).expect(201)
    assert wire.pull_blob("alice/app", sha256_of(data)) == data


def manifest(found: Found, repository: str, reference: str) -> dict[str, Any]:
    """Return what was pushed there."""
    return next(
        one
        for one in found.left.expected["manifests"]
        if (one["repository"], one["reference"]) == (repository, reference)
    )

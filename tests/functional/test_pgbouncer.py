"""Two servers and the commands on a PostgreSQL behind pgbouncer in transaction mode."""

import asyncio
import json
from pathlib import Path

from tests.functional.cluster.load import manifest_of
from tests.functional.conftest import Serve
from tests.functional.programs import run
from tests.functional.server import TREESCALE, Options, Server
from tests.functional.wire import Wire
from tests.images import noise
from tests.pgbouncer import pgbouncer
from tests.postgres import Postgres

__all__ = ["pgbouncer"]  # a fixture

APP = "admin/app"


def new_database(postgres: Postgres) -> str:
    name = f"pooled_{next(postgres.numbers)}"
    asyncio.run(postgres.execute("postgres", f"CREATE DATABASE {name} TEMPLATE template0"))
    return name


def pushed(server: Server) -> tuple[Wire, dict[str, bytes]]:
    """Push an image through a server."""
    wire = Wire(server, server.add_token(server.admin_account))
    data = noise(3_000_000)
    digest = wire.push_blob(APP, data)
    wire.push_blob(APP, b"{}")
    wire.push_manifest(APP, "1", manifest_of(digest, len(data), "a"))
    return wire, {digest: data}


def test_two_servers_are_one_registry(
    serve: Serve, postgres: Postgres, pgbouncer: Postgres, tmp_path: Path
) -> None:
    """Tables are made, images pushed, pulled, deleted and restored, all is backed up and moved."""
    url = pgbouncer.url(new_database(postgres))
    first, second = (serve(Options(workers=1, database=url)) for _ in range(2))
    wire, layers = pushed(first)
    other = Wire(second, second.admin_account)
    for digest, data in layers.items():
        assert other.pull_blob(APP, digest) == data
    wire.request("GET", f"/v2/{APP}/manifests/1").expect(200)
    other.request("DELETE", f"/v2/{APP}/manifests/1").expect(202)
    wire.request("GET", f"/v2/{APP}/manifests/1").expect(404)
    first.admin("repo", "restore", f"{APP}:1")
    ended, said = second.outcome("collect")
    assert (ended, "Rows first" in said) == (3, True), "nothing goes so soon after a start"
    assert "a pooler is between" in limit_of(first)
    into = pgbouncer.url(new_database(postgres))
    for number in range(2):  # the second would meet statements that the first has left behind
        first.admin("backup", str(tmp_path / str(number)))
    run(TREESCALE, "restore", tmp_path / "1", "--database", into)
    assert APP in run(TREESCALE, "repo", "list", "--database", into)
    for server in (first, second):
        assert server.stop() == 0
        assert "Traceback" not in server.log.read_text()


def limit_of(server: Server) -> str:
    """Return what doctor says of the limit on connections, which is the pooler's."""
    _, said = server.outcome("doctor", "--json")
    found = next(each for each in json.loads(said) if each["check"] == "max_connections")
    return str(found)

"""What one database keeps and the other refuses: NUL, half a surrogate, wildcards, large numbers.

Over HTTP, on SQLite and on PostgreSQL: the same answer from both.
"""

import socket
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import aiohttp
import pytest
from aiohttp import web

from tests.api.client import Client
from tests.api.conftest import followed
from tests.api.running import PASSWORD, Running, make_parts_on
from tests.contracts.metadata_values import ACTOR
from tests.fakes_readiness import metrics_desk, stop_desk
from tests.oci.documents import OCI_CONFIG, descriptor, digest, image
from tests.tables import each_row
from treescale.api.routes import route_table
from treescale.http.authentication import Authenticator
from treescale.http.dispatch import Dispatcher
from treescale.server.serving import compose, new_connections

CONFIG: Final = descriptor(b"{}", OCI_CONFIG)
NAMES: Final = ("team", "team1x", "teama", "team_x")


@pytest.fixture
async def both(url: str) -> AsyncIterator[Running]:
    """Run a registry on the database, with users whose names look like patterns."""
    with ThreadPoolExecutor(4) as threads, socket.create_server(("127.0.0.1", 0)) as listener:
        parts = await make_parts_on(url, threads)
        for name in NAMES:
            await parts.accounts.add_user(name, PASSWORD, actor=ACTOR)
        guard = Authenticator(parts.login, parts.tokens)
        rooms = compose(parts.database, parts.store, threads, guard, parts.clock, parts.traffic)
        api = Dispatcher(
            rooms, route_table(parts.ready, stop_desk(parts.database), metrics_desk(parts.database))
        )
        connections = new_connections(api.handle, tls=False)
        runner = web.ServerRunner(connections)
        await runner.setup()
        await web.SockSite(runner, listener).start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        yield Running(address, parts, rooms, followed(parts.database), connections)
        await runner.cleanup()
        await parts.database.close()


@pytest.fixture
def team(both: Running, session: aiohttp.ClientSession) -> Client:
    return Client(session, both.url, "team_x", PASSWORD)


class OnAnyDatabase:
    """Subclass with a `url` fixture."""

    async def test_a_name_is_no_pattern(self, team: Client) -> None:
        """S24: `team_x` saw what `team1x` has in Quay (CVE-2026-110697)."""
        for user in NAMES:
            client = Client(team.session, team.url, user, PASSWORD)
            await client.repository(f"{user}/app").push_blob(b"{}")
        for user in NAMES:
            client = Client(team.session, team.url, user, PASSWORD)
            for answer in (
                await client.raw("GET", "/v2/_catalog", client.basic()),
                await client.request("GET", "/v2/_catalog"),
            ):
                assert answer.expect(200).json["repositories"] == [f"{user}/app"]
        await team.repository("team_x/app").push_image("a_b", b"layer")
        for reference in ("a%25b", "a%5Fc", "axb", "%25", "_"):
            answer = await team.repository("team_x/app").get(f"manifests/{reference}")
            assert answer.status in (400, 404)

    @each_row("text", ["%00", "a%00b", "%ED%A0%80", "%FF", "%0A", "%27", "%25", "_"])
    async def test_text_in_queries(self, team: Client, text: str) -> None:
        repository = team.repository("team_x/app")
        await repository.push_image("latest", b"layer")
        for path in (
            f"referrers/{digest(b'x')}?artifactType={text}",
            f"referrers/{digest(b'x')}?last={text}",
            f"tags/list?last={text}",
        ):
            assert (await repository.get(path)).status in (200, 400), path
        for query in (f"mount={digest(b'x')}&from={text}", f"digest-algorithm={text}"):
            answer = await repository.request("POST", f"blobs/uploads/?{query}")
            assert answer.status in (202, 400), query
        answer = await team.raw("GET", f"/token?service={text}&scope={text}&account={text}")
        assert answer.status in (200, 400)

    @each_row("user", ["team\0", "\0", "team\n", "t%m", "\ud7ff", "a" * 5000, "'"])
    async def test_names_to_log_in_with(self, team: Client, user: str) -> None:
        stranger = Client(team.session, team.url, user, PASSWORD)
        (await stranger.ask_token()).expect(401, "UNAUTHORIZED")
        form = aiohttp.FormData(
            {"grant_type": "password", "username": user, "password": "a\0b", "scope": "\0"}
        )
        async with team.session.post(f"{team.url}/token", data=form) as answer:
            assert answer.status in (400, 401, 429)

    async def test_text_in_manifests(self, team: Client) -> None:
        repository = team.repository("team_x/app")
        await repository.push_blob(b"{}")
        for wrong in ("\0", "a\0b", "\ud800"):
            for more in ({"annotations": {"a": wrong}}, {"annotations": {wrong: "a"}}):
                document = image(config=CONFIG, **more)
                (await repository.put_manifest(document, "x")).expect(400, "MANIFEST_INVALID")
            document = image(config=CONFIG, artifactType=f"a/{wrong}")
            (await repository.put_manifest(document, "x")).expect(400, "MANIFEST_INVALID")
        kept = {"'; DROP TABLE manifests; --": "\u2028\U0001f600%_\\"}
        (await repository.put_manifest(image(config=CONFIG, annotations=kept), "x")).expect(201)
        assert (await repository.get("manifests/x")).json["annotations"] == kept

    async def test_large_numbers(self, team: Client) -> None:
        repository = team.repository("team_x/app")
        await repository.push_blob(b"{}")
        layer = {**CONFIG, "size": 2**63}
        answer = await repository.put_manifest(image(layer, config=CONFIG), "x")
        answer.expect(400, "MANIFEST_INVALID")
        for size in (2**31, 2**63 - 1, 2**63, 2**64):
            (await repository.get(f"tags/list?n={size}")).expect(200)
        location = await repository.start_upload()
        for start in (2**63 - 1, 2**63, 2**64):
            headers = {"Content-Range": f"{start}-{start}"}
            answer = await repository.request("PATCH", location, headers=headers, data=b"x")
            assert answer.status in (400, 416)


class TestSqlite(OnAnyDatabase):
    @pytest.fixture
    def url(self, sqlite_url: str) -> str:
        return sqlite_url


class TestPostgresql(OnAnyDatabase):
    @pytest.fixture
    def url(self, postgres_url: str) -> str:
        return postgres_url

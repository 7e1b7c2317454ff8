"""When it is our fault: 503, 507 or a cut connection, and never a wrong byte."""

import asyncio
import errno
import hashlib
import os
from ipaddress import IPv4Network
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp.test_utils import make_mocked_request

from tests.api.client import Client
from tests.api.running import Running
from tests.oci.documents import digest
from treescale.errors import DatabaseUnavailable, StoreFull
from treescale.http.authentication import Authenticator
from treescale.http.clients import Clients
from treescale.http.proxy.origin import Proxies

LARGE = hashlib.shake_256(b"large").digest(6_400_000)
"""6.4 MB that do not compress: several chunks."""


async def test_a_blob_without_any_good_copy_is_no_200(registry: Running, alice: Client) -> None:
    """404 would make clients believe that it does not exist (faults.md, R3)."""
    repository = alice.repository("alice/app")
    name = await repository.push_blob(LARGE)
    registry.parts.store._chunks.clear()
    answer = (await repository.get(f"blobs/{name}")).expect(503, "UNKNOWN")
    assert int(answer.headers["Retry-After"]) >= 1
    (await repository.head(f"blobs/{name}")).expect(200)


@pytest.mark.parametrize("header", [None, "bytes=0-", "bytes=0-9,100-,-0"])
async def test_a_bad_chunk_in_the_middle_cuts_the_connection(
    registry: Running, alice: Client, header: str | None
) -> None:
    repository = alice.repository("alice/app")
    name = await repository.push_blob(LARGE)
    first = next(c for c, data in registry.parts.store._chunks.items() if LARGE.startswith(data))
    for chunk in set(registry.parts.store._chunks) - {first}:
        del registry.parts.store._chunks[chunk]
    token = await alice.token("repository:alice/app:pull")
    headers = {"Authorization": f"Bearer {token}"} | ({"Range": header} if header else {})
    got = b""
    with pytest.raises(aiohttp.ClientPayloadError):  # noqa: PT012  the bytes before it count too
        async with alice.session.get(
            f"{alice.url}/v2/alice/app/blobs/{name}", headers=headers
        ) as response:
            assert response.status in (200, 206)
            async for piece in response.content.iter_any():
                got += piece
    assert len(got) < len(LARGE)
    if header is None:
        assert LARGE.startswith(got)


async def test_a_full_disk_refuses_before_the_body_is_read(
    registry: Running, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = alice.repository("alice/app")
    location = await repository.start_upload()
    token = await alice.token("repository:alice/app:pull,push")

    async def full(size: int) -> None:
        raise StoreFull(f"no room for {size} bytes")

    monkeypatch.setattr(registry.parts.store, "check_space", full)
    address = urlsplit(alice.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    head = (
        f"PATCH {location} HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Bearer {token}\r\n"
        "Content-Length: 1000000000\r\nExpect: 100-continue\r\n\r\n"
    )
    writer.write(head.encode())
    async with asyncio.timeout(20):
        assert (await reader.readline()).startswith(b"HTTP/1.1 507 ")
    writer.close()
    answer = await repository.request("POST", f"blobs/uploads/?digest={digest(b'x')}", data=b"x")
    assert int(answer.expect(507).headers["Retry-After"]) >= 1
    (await repository.head(f"blobs/{digest(b'x')}")).expect(404)
    monkeypatch.undo()
    await repository.push_blob(b"x")


async def test_a_database_that_is_away_is_a_503(
    registry: Running, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise DatabaseUnavailable("the database does not answer")

    monkeypatch.setattr(registry.parts.database.manifests, "list_tags", away)
    answer = await alice.repository("alice/app").get("tags/list")
    assert int(answer.expect(503).headers["Retry-After"]) >= 1


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
async def test_a_machine_that_has_no_more_to_give_is_a_503(
    registry: Running, alice: Client, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """It was a 500 (T39): any call may say so, not only those of a room that knows."""

    async def exhausted(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(registry.parts.database.manifests, "list_tags", exhausted)
    answer = await alice.repository("alice/app").get("tags/list")
    assert int(answer.expect(503).headers["Retry-After"]) >= 1


async def test_ten_thousand_ranges_are_the_whole_blob(alice: Client) -> None:
    """S48: no header field is long enough for more than some thousand; 1024 are read at most."""
    repository = alice.repository("alice/app")
    name = await repository.push_blob(LARGE)
    some = ",".join(f"{start}-{start}" for start in range(3000))
    assert (await repository.get(f"blobs/{name}", Range=f"bytes={some}")).expect(200).body == LARGE
    many = ",".join(["0-0"] * 10_000)
    assert (await repository.get(f"blobs/{name}", Range=f"bytes={many}")).status == 400


async def test_what_nobody_foresaw_says_nothing_but_where_to_look(
    registry: Running, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("a secret of the inside")

    token = await alice.token("repository:alice/app:pull")
    monkeypatch.setattr(registry.parts.database.manifests, "list_tags", broken)
    headers = {"Authorization": f"Bearer {token}", "X-Request-Id": "find-me-7"}
    url = f"{alice.url}/v2/alice/app/tags/list"
    async with alice.session.get(url, headers=headers) as response:
        body = await response.text()
        assert response.status == 500
        assert response.headers["Content-Type"] == "application/json"
    assert "find-me-7" in body
    assert "secret" not in body
    assert "Traceback" not in body


async def test_a_client_that_leaves_in_the_middle_of_a_download(alice: Client) -> None:
    """As containerd does every 32 MiB; the next request must not notice."""
    repository = alice.repository("alice/app")
    name = await repository.push_blob(LARGE)
    token = await alice.token("repository:alice/app:pull")
    address = urlsplit(alice.url)
    for _ in range(5):
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        head = (
            f"GET /v2/alice/app/blobs/{name} HTTP/1.1\r\nHost: {address.netloc}\r\n"
            f"Authorization: Bearer {token}\r\nRange: bytes=1000-\r\n\r\n"
        )
        writer.write(head.encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 206 ")
        writer.transport.abort()
    assert (await repository.get(f"blobs/{name}")).expect(200).body == LARGE


class TestBehindAProxy:
    pytestmark = pytest.mark.parametrize(
        ("trusted_proxies", "realm"),
        [
            ((IPv4Network("127.0.0.0/8"),), "https://registry.example/token"),
            ((IPv4Network("192.0.2.0/24"),), None),
        ],
    )

    async def test_the_realm_is_what_a_trusted_proxy_says(
        self, anybody: Client, realm: str | None
    ) -> None:
        headers = {"X-Forwarded-Host": "registry.example", "X-Forwarded-Proto": "https"}
        challenge = (await anybody.raw("GET", "/v2/", headers)).headers["WWW-Authenticate"]
        assert f'realm="{realm or anybody.url + "/token"}"' in challenge

    async def test_it_cannot_say_just_anything(self, anybody: Client, realm: str | None) -> None:
        headers = {"X-Forwarded-Host": 'evil"x', "X-Forwarded-Proto": "javascript"}
        challenge = (await anybody.raw("GET", "/v2/", headers)).headers["WWW-Authenticate"]
        assert f'realm="{anybody.url}/token"' in challenge
        assert realm is None or "evil" not in challenge


@pytest.mark.parametrize(
    ("remote", "believed"), [("::ffff:10.0.0.9", True), ("10.0.0.9", True), ("::1", False)]
)
def test_a_proxy_is_known_by_its_ipv4_address_on_an_ipv6_socket_too(
    registry: Running, remote: str, *, believed: bool
) -> None:
    clients = Clients(Proxies([IPv4Network("10.0.0.0/8")]))
    guard = Authenticator(registry.parts.login, registry.parts.tokens, clients)
    headers = {"X-Forwarded-For": "192.0.2.7"}
    request = make_mocked_request("GET", "/v2/", headers).clone(remote=remote)
    assert guard.client_address(request) == ("192.0.2.7" if believed else remote)

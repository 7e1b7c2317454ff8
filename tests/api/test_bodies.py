"""How much of a body each route takes: a table that a new route must join."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

import pytest

from tests.api.client import Client
from tests.oci.documents import OCI_MANIFEST, digest
from tests.tables import each_row
from treescale.api.routes import ROUTES
from treescale.http.limits import LIMITS, Limits
from treescale.oci.paths import ResourceKind

MIB: Final = 1024 * 1024
UNLIMITED: Final = None
"""Blobs: the disk is the limit (507, see test_failures)."""
NOT_READ: Final = 0
"""The answer does not depend on the body, which is thrown away for a moment, then cut off."""
ALL: Final = "repository:alice/app:pull,push,delete registry:catalog:*"

BODIES: Final[Mapping[tuple[ResourceKind, str], tuple[str, int | None]]] = {
    (ResourceKind.ROOT, "GET"): ("/v2/", NOT_READ),
    (ResourceKind.ROOT, "HEAD"): ("/v2/", NOT_READ),
    (ResourceKind.CATALOG, "GET"): ("/v2/_catalog", NOT_READ),
    (ResourceKind.TAGS, "GET"): ("/v2/alice/app/tags/list", NOT_READ),
    (ResourceKind.REFERRERS, "GET"): (f"/v2/alice/app/referrers/{digest(b'x')}", NOT_READ),
    (ResourceKind.MANIFEST, "GET"): ("/v2/alice/app/manifests/x", NOT_READ),
    (ResourceKind.MANIFEST, "HEAD"): ("/v2/alice/app/manifests/x", NOT_READ),
    (ResourceKind.MANIFEST, "PUT"): ("/v2/alice/app/manifests/x", 4 * MIB),
    (ResourceKind.MANIFEST, "DELETE"): ("/v2/alice/app/manifests/x", NOT_READ),
    (ResourceKind.BLOB, "GET"): (f"/v2/alice/app/blobs/{digest(b'x')}", NOT_READ),
    (ResourceKind.BLOB, "HEAD"): (f"/v2/alice/app/blobs/{digest(b'x')}", NOT_READ),
    (ResourceKind.BLOB, "DELETE"): (f"/v2/alice/app/blobs/{digest(b'x')}", NOT_READ),
    (ResourceKind.UPLOADS, "POST"): ("/v2/alice/app/blobs/uploads/", UNLIMITED),
    (ResourceKind.UPLOAD, "GET"): ("/v2/alice/app/blobs/uploads/x", NOT_READ),
    (ResourceKind.UPLOAD, "PATCH"): ("/v2/alice/app/blobs/uploads/x", UNLIMITED),
    (ResourceKind.UPLOAD, "PUT"): ("/v2/alice/app/blobs/uploads/x", UNLIMITED),
    (ResourceKind.UPLOAD, "DELETE"): ("/v2/alice/app/blobs/uploads/x", NOT_READ),
}
LIMITED: Final = {key: row for key, row in BODIES.items() if row[1] is not UNLIMITED}
IMPATIENT: Final = replace(
    LIMITS, linger_seconds_max=0.1, body_window_seconds=0.3, login_body_window_seconds=0.3
)


def test_every_route_has_a_row() -> None:
    assert set(BODIES) == set(ROUTES)


async def flood(client: Client, method: str, path: str, scopes: str = ALL) -> tuple[int, bytes]:
    """Send a body without end until the server ends the connection; return what it answered."""
    token = await client.token(*scopes.split())
    address = urlsplit(client.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(
        f"{method} {path} HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: {OCI_MANIFEST}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    )
    piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"

    async def pour() -> None:
        with suppress(ConnectionError):
            while True:
                writer.write(piece)
                await writer.drain()

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        pouring = group.create_task(pour())
        answer = b""
        with suppress(ConnectionError):  # it closed while bytes were still coming
            while more := await reader.read(64 * 1024):
                answer += more
        pouring.cancel()
    writer.transport.abort()
    return int(answer.split(b" ", 2)[1]), answer


@pytest.mark.parametrize("limits", [IMPATIENT], ids=["impatient"])
@each_row(("method", "path", "limit"), [(k[1], *row) for k, row in LIMITED.items()])
async def test_a_body_without_end_ends(
    alice: Client, method: str, path: str, limit: int, limits: Limits
) -> None:
    """It is answered, and cut; without a Content-Length nobody could have known before."""
    del limits
    status, answer = await flood(alice, method, path)
    assert status == 413 if limit else status in (200, 404)
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("limits", [IMPATIENT], ids=["impatient"])
@pytest.mark.parametrize("sent", [b"", b"abc", b"abc" * 1000])
async def test_an_upload_that_stalls_keeps_what_arrived(
    alice: Client, sent: bytes, limits: Limits
) -> None:
    del limits
    repository = alice.repository("alice/app")
    location = await repository.start_upload()
    token = await alice.token("repository:alice/app:pull,push")
    address = urlsplit(alice.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    head = (
        f"PATCH {location} HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Bearer {token}\r\n"
        "Content-Length: 1000000\r\n\r\n"
    )
    writer.write(head.encode() + sent)
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"UNSUPPORTED"' in answer
    state = (await alice.request("GET", location)).expect(204)
    assert state.headers["Range"] == f"0-{max(len(sent) - 1, 0)}"
    (await alice.request("PATCH", location, data=b"the rest")).expect(202)
    name = digest(sent + b"the rest")
    (await alice.request("PUT", f"{location}?digest={name}")).expect(201)
    assert (await repository.get(f"blobs/{name}")).expect(200).body == sent + b"the rest"


@pytest.mark.parametrize("limits", [IMPATIENT], ids=["impatient"])
@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "/v2/alice/app/manifests/x"), ("POST", "/v2/alice/app/blobs/uploads/?digest=D")],
)
async def test_other_bodies_that_stall(
    alice: Client, method: str, path: str, limits: Limits
) -> None:
    del limits
    token = await alice.token("repository:alice/app:pull,push")
    address = urlsplit(alice.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    head = (
        f"{method} {path.replace('=D', '=' + digest(b'x' * 100))} HTTP/1.1\r\n"
        f"Host: {address.netloc}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: {OCI_MANIFEST}\r\nContent-Length: 100\r\n\r\n"
    )
    writer.write(head.encode() + b"x")
    async with asyncio.timeout(20):
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
    writer.close()

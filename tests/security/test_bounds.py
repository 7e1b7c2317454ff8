"""Requests made to be expensive: memory stays flat, answers stay bounded."""

import json
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import pytest

from tests.api.client import Answer, Client, Repository
from tests.oci.documents import (
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    descriptor,
    digest,
    encoded,
    image,
    index,
)
from tests.tables import each_row

MIB: Final = 1024 * 1024
CONFIG: Final = descriptor(b"{}", OCI_CONFIG)
PAGES: Final = [0, 1_000_000_000, 2**63, 2**64]


@pytest.fixture
async def repository(alice: Client) -> Repository:
    found = alice.repository("alice/app")
    await found.push_blob(b"{}")
    return found


async def peak_bytes(work: Callable[[], Awaitable[object]]) -> int:
    """Return how far Python's memory rose while working, client and server together."""
    await work()  # what is made once and kept is no growth
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        await work()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@each_row("size", PAGES)
@each_row("path", ["_catalog", "alice/app/tags/list", "alice/app/referrers/D"])
@pytest.mark.usefixtures("repository")
async def test_a_huge_page_costs_what_it_holds(alice: Client, path: str, size: int) -> None:
    """S01: distribution allocated n strings before it looked (CVE-2023-2253)."""
    url = f"/v2/{path.replace('/D', '/' + digest(b'x'))}?n={size}"

    async def ask() -> Answer:
        return (await alice.request("GET", url)).expect(200)

    assert "Link" not in (await ask()).headers
    assert await peak_bytes(ask) < 5 * MIB


async def test_an_allocation_of_n_would_be_seen(alice: Client) -> None:
    """The control: what CVE-2023-2253 did, a million times smaller than it was asked to."""

    async def ask() -> None:
        names: list[object] = [None] * MIB
        await alice.request("GET", f"/v2/_catalog?n={len(names)}")

    assert await peak_bytes(ask) > 5 * MIB


@pytest.mark.parametrize("sized", [True, False], ids=["length", "chunked"])
@pytest.mark.parametrize(
    ("method", "path", "content_type", "limit"),
    [
        ("PUT", "/v2/alice/app/manifests/x", OCI_MANIFEST, 4 * MIB),
        ("POST", "/token", "application/x-www-form-urlencoded", 64 * 1024),
    ],
)
@pytest.mark.usefixtures("repository")
async def test_bodies_are_cut_at_their_limit(
    alice: Client, method: str, path: str, content_type: str, limit: int, *, sized: bool
) -> None:
    """S02, S03: one byte more than the route allows, with and without a length."""
    payload = b"a" * (limit + 1)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(payload), 64 * 1024):
            yield payload[start : start + 64 * 1024]

    headers = {"Content-Type": content_type}
    answer = await alice.request(method, path, headers=headers, data=payload if sized else pieces())
    assert answer.status == 413


@pytest.mark.long
async def test_twenty_thousand_layers(repository: Repository) -> None:
    """Each of one byte, each pushed."""
    layers = [descriptor(bytes([number])) for number in range(256)]
    for number in range(256):
        await repository.push_blob(bytes([number]))
    repeated = [layers[number % 256] for number in range(20_000)]
    document = image(*repeated, config=CONFIG)
    (await repository.put_manifest(document, "many")).expect(201)
    assert (await repository.get("manifests/many")).json["layers"] == repeated


@pytest.mark.long
async def test_twenty_two_thousand_layers_that_are_not_there(repository: Repository) -> None:
    layers = [{**CONFIG, "digest": f"sha256:{number:064x}", "size": 1} for number in range(22_000)]
    answer = await repository.put_manifest(image(*layers, config=CONFIG), "many")
    answer.expect(400, "MANIFEST_BLOB_UNKNOWN")
    assert len(answer.body) < 8 * MIB


async def test_an_index_of_an_index_of_an_index(repository: Repository) -> None:
    """Nothing here follows children, so depth costs nothing."""
    payload = encoded(image(config=CONFIG))
    media_type = OCI_MANIFEST
    for depth in range(100):
        (await repository.put_manifest(payload, f"depth-{depth}", media_type)).expect(201)
        payload, media_type = encoded(index(descriptor(payload, media_type))), OCI_INDEX
    answer = await repository.get("manifests/depth-99")
    assert answer.expect(200).json["mediaType"] == OCI_INDEX
    (await repository.delete("manifests/depth-0")).expect(202)


@pytest.mark.long
async def test_a_chain_of_subjects(repository: Repository) -> None:
    """A thousand long: a list of referrers is one step, never the chain."""
    payload = encoded(image(config=CONFIG))
    first = digest(payload)
    for number in range(1000):
        answer = await repository.put_manifest(payload, digest(payload), OCI_MANIFEST)
        answer.expect(201)
        subject = descriptor(payload, OCI_MANIFEST)
        payload = encoded(image(config=CONFIG, subject=subject, annotations={"n": str(number)}))
    found = (await repository.get(f"referrers/{first}")).expect(200).json["manifests"]
    assert len(found) == 1
    assert json.dumps(found).count("sha256:") == 1

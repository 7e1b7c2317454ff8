"""A manifest may have 4 MiB, whatever they are made of: that is the only limit."""

import asyncio
import time
from collections.abc import Callable

import pytest

from tests.api.client import Client, Repository
from tests.oci.documents import (
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    descriptor,
    encoded,
    image,
    index,
)

MIB = 1024 * 1024
CONFIG = descriptor(b"{}", OCI_CONFIG)
FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar"
TYPE = {OCI_MANIFEST: {"Content-Type": OCI_MANIFEST}, OCI_INDEX: {"Content-Type": OCI_INDEX}}


def filled(document: bytes, begin: bytes, unit: bytes, end: bytes) -> bytes:
    """Return exactly 4 MiB: units where the document says "?", then blanks."""
    room = 4 * MIB - len(document) - len(begin) - len(end) + len(b'"?"')
    part = begin + unit * (room // len(unit))
    return document.replace(b'"?"', part + end).ljust(4 * MIB)


def numbered(unit: str, count: int) -> bytes:
    return ",".join(unit % number for number in range(count)).encode()


IMAGE = encoded({**image(config=CONFIG), "more": "?"})
ANNOTATED = encoded(image(config=CONFIG, annotations="?"))
INDEX = encoded({**index(), "manifests": "?"})
LAYERS = encoded({**image(config=CONFIG), "layers": "?"})
CHILD = '{"mediaType":"%s","size":9,"digest":"sha256:%%064x"}'
MADE_OF: dict[str, Callable[[], bytes]] = {
    "one string": lambda: filled(IMAGE, b'"', b"x", b'"'),
    "an annotation": lambda: filled(ANNOTATED, b'{"a":"', b"x", b'"}'),
    "annotations": lambda: ANNOTATED.replace(b'"?"', b"{%s}" % numbered('"%d":""', 300_000)),
    "escapes": lambda: filled(ANNOTATED, b'{"a":"', b"\\u0041", b'"}'),
    "lists in lists": lambda: IMAGE.replace(b'"?"', b"[" * 2_000_000 + b"]" * 2_000_000),
    "objects in objects": lambda: IMAGE.replace(b'"?"', b'{"":' * 100_000 + b"1" + b"}" * 100_000),
    "numbers": lambda: filled(IMAGE, b"[", b"0,", b"0]"),
    "objects": lambda: filled(IMAGE, b"[", b"{},", b"0]"),
    "manifests": lambda: INDEX.replace(b'"?"', b"[%s]" % numbered(CHILD % OCI_MANIFEST, 20_000)),
    "more manifests": lambda: INDEX.replace(b'"?"', b"[%s]" % numbered(CHILD % ".index.", 36_000)),
    "foreign layers": lambda: LAYERS.replace(b'"?"', b"[%s]" % numbered(CHILD % FOREIGN, 25_000)),
}


@pytest.fixture
async def repository(alice: Client) -> Repository:
    found = alice.repository("alice/app")
    await found.push_blob(b"{}")
    return found


@pytest.mark.long
@pytest.mark.parametrize("make", MADE_OF.values(), ids=MADE_OF.keys())
async def test_four_mebibytes_of(repository: Repository, make: Callable[[], bytes]) -> None:
    payload = make()
    assert len(payload) <= 4 * MIB
    headers = TYPE[OCI_INDEX if OCI_INDEX.encode() in payload[:200] else OCI_MANIFEST]
    for size, status in ((4 * MIB, 201), (4 * MIB + 1, 413)):
        padded = payload.ljust(size)
        answer = await repository.request("PUT", "manifests/x", headers=headers, data=padded)
        answer.expect(status)
    got = (await repository.get("manifests/x")).expect(200)
    assert got.body == payload.ljust(4 * MIB)
    (await repository.delete("manifests/x")).expect(202)


@pytest.mark.long
async def test_others_are_answered_meanwhile(repository: Repository, alice: Client) -> None:
    """A long manifest is read in a thread, and only one at a time."""
    payload = MADE_OF["objects"]()
    pushes = asyncio.gather(
        *(
            repository.request("PUT", f"manifests/{n}", headers=TYPE[OCI_MANIFEST], data=payload)
            for n in range(2)
        )
    )
    slowest = 0.0
    while not pushes.done():
        begun = time.monotonic()
        (await alice.raw("GET", "/healthz")).expect(200)
        slowest = max(slowest, time.monotonic() - begun)
        await asyncio.sleep(0)
    assert [answer.status for answer in await pushes] == [201] * 2
    assert slowest < 2

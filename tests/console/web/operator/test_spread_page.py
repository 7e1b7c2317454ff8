"""An image across the cluster: who may pull it sees it, who runs it sees names, live who gives."""

import os

import pytest

from tests.api.client import Client
from tests.api.running import Running
from tests.console.web.browser import Browser
from tests.console.web.operator.conftest import SERVERS, STORES, Seen
from tests.console.web.operator.stream import parts_of
from tests.contracts.metadata_values import ACTOR
from treescale.chunks.format.recipe import decode

PAGE = "/alice/app:v1/-/spread"
MIB = 1024 * 1024


@pytest.fixture
async def chunks(registry: Running, alice: Client) -> list[bytes]:
    """Push an image, and let bob pull it; return its chunks."""
    layer = os.urandom(6 * MIB)
    document = await alice.repository("alice/app").push_image("v1", layer)
    database = registry.parts.database
    await database.organisations.grant("alice", "bob", role="reader", repository="*", actor=ACTOR)
    (wanted,) = document["layers"]
    blob = await database.blobs.find("alice/app", wanted["digest"])
    assert blob.recipe is not None
    return [chunk for chunk, _ in decode(blob.recipe).parts]


@pytest.fixture
async def maintainer(browser: Browser, alice: Client) -> Browser:
    """Alice at her browser."""
    await browser.sign_in("alice", alice.password)
    return browser


@pytest.fixture
async def reader(other: Browser, bob: Client) -> Browser:
    """Bob at his."""
    await other.sign_in("bob", bob.password)
    return other


@pytest.mark.usefixtures("chunks")
async def test_who_maintains_it_sees_names_and_who_pulls_it_numbers(
    maintainer: Browser, reader: Browser
) -> None:
    words = (await maintainer.get(PAGE)).expect(200).words
    assert "can still be pulled whole: one, three, two." in words
    assert "/data" in words
    assert "through one" in words
    shown = (await reader.get(PAGE)).expect(200)
    assert "can still be pulled whole: server 1, server 2, server 3." in shown.words
    for secret in ("/data", "three", *SERVERS.values(), *STORES.values()):
        assert secret not in shown.text


@pytest.mark.usefixtures("chunks")
async def test_who_may_not_pull_it_sees_nothing(
    browser: Browser, other: Browser, root: Client, bob: Client, registry: Running
) -> None:
    assert (await browser.get(PAGE)).expect(303).location.startswith("/-/sign-in")
    await other.sign_in("bob", bob.password)
    database = registry.parts.database
    await database.organisations.revoke("alice", "bob", repository=None, actor=ACTOR)
    await registry.parts.tokens.refresh()
    await browser.sign_in("root", root.password)
    for who in (browser, other):
        for path in (PAGE, f"{PAGE}/live", "/alice/none:v1/-/spread"):
            (await who.get(path)).expect(404)


@pytest.mark.usefixtures("chunks")
async def test_what_is_lost_with_a_server_is_said(maintainer: Browser, seen: Seen) -> None:
    seen.peers[SERVERS["two"]] = False
    words = (await maintainer.get(PAGE)).expect(200).words
    assert "It cannot without one of these" in words or "No server may die" in words
    assert "silent" in words


async def test_what_cannot_be_read_is_said(
    maintainer: Browser, seen: Seen, registry: Running, chunks: list[bytes]
) -> None:
    # Before the first look: what a look finds is told again for some seconds.
    owed = [(chunk, STORES["one"]) for chunk in chunks]
    await registry.parts.database.under_replicated.add(owed, now=1.0)
    async with parts_of(maintainer, f"{PAGE}/live") as parts:
        told = await parts.until("spread-told", "<")
        assert "cannot be read now" not in told  # the control: who else has it is alive
        seen.peers |= dict.fromkeys((SERVERS["two"], SERVERS["three"]), False)
        await parts.until("spread-told", "cannot be read now")


async def test_live_it_shows_from_where_chunks_come_while_somebody_looks(
    maintainer: Browser, seen: Seen, chunks: list[bytes]
) -> None:
    assert seen.reads.until[0] == 0.0  # the control: nobody looks
    async with parts_of(maintainer, f"{PAGE}/live") as parts:
        await parts.until("spread-stores", "nothing")
        assert seen.reads.until[0] > 0.0
        seen.reads.note(chunks[0], STORES["three"])
        seen.reads.note(b"\xee" * 32, STORES["two"])  # of another image
        table = await parts.until("spread-stores", 'class="read"')
        assert f"1 of {len(chunks)} squares" in table
        assert table.count('class="read"') == 1


async def test_what_is_pulled_is_shown_to_who_maintains_it(
    maintainer: Browser, reader: Browser, seen: Seen, chunks: list[bytes]
) -> None:
    async with parts_of(maintainer, f"{PAGE}/live") as parts:
        await parts.until("spread-stores", "nothing")
        seen.reads.note(chunks[0], STORES["three"])
        await parts.until("spread-stores", 'class="read"')
        assert 'class="read"' not in (await reader.get(PAGE)).expect(200).text
        assert 'class="read"' in (await maintainer.get(PAGE)).expect(200).text  # the control


async def test_a_small_image_lies_in_the_database(maintainer: Browser, alice: Client) -> None:
    await alice.repository("alice/small").push_image("v1", b"a small layer")
    page = (await maintainer.get("/alice/small:v1/-/spread")).expect(200)
    assert "lies in the database" in page.words


@pytest.mark.usefixtures("chunks")
async def test_by_its_digest_it_is_the_same(maintainer: Browser, registry: Running) -> None:
    top = await registry.parts.database.manifests.resolve("alice/app", "v1")
    page = (await maintainer.get(f"/alice/app@{top.digest}/-/spread")).expect(200)
    assert "can still be pulled whole" in page.words
    (await maintainer.get("/alice/app:none/-/spread")).expect(404)
    (await maintainer.get("/alice/app@sha256:x/-/spread")).expect(400)

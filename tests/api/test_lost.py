"""A blob of which bytes are lost: absent for who would build on it, until it is pushed again."""

import pytest

from tests.api.client import Client, Repository
from tests.api.running import Running
from tests.oci.documents import digest
from treescale.chunks.format.recipe import decode
from treescale.metadata.records import Blob
from treescale.oci.digest import Digest
from treescale.registry.pull import Pulls

DATA = b"a layer that will be lost" * 10_000
PATH = f"blobs/{digest(DATA)}"


@pytest.fixture
async def mine(alice: Client) -> Repository:
    repository = alice.repository("alice/app")
    await repository.push_blob(DATA)
    return repository


@pytest.fixture
async def chunk(registry: Running, mine: Repository) -> bytes:  # noqa: ARG001  pushed before
    """Lose the blob's chunk, as a read has found it."""
    blob = await registry.parts.database.blobs.find("alice/app", digest(DATA))
    assert blob.recipe is not None
    ((chunk, _),) = decode(blob.recipe).parts
    await registry.parts.store.delete(chunk)
    await registry.parts.database.lost.note(chunk, ())
    return chunk


async def open_upload(client: Client, name: str, query: str = "") -> str:
    answer = await client.request("POST", f"/v2/{name}/blobs/uploads/{query}")
    return str(answer.expect(202).headers["Location"])


@pytest.mark.usefixtures("chunk")
async def test_head_says_that_it_is_not_there_and_get_that_it_may_come_back(
    mine: Repository,
) -> None:
    (await mine.head(PATH)).expect(404)
    assert (await mine.get(PATH)).expect(503).headers["Retry-After"]


@pytest.mark.usefixtures("chunk")
async def test_a_put_again_is_no_proof_that_it_is_there(alice: Client, mine: Repository) -> None:
    """After a lost 201 the session is gone and the blob is there; but this one is not."""
    path = f"/v2/alice/app/blobs/uploads/{'0' * 32}?digest={digest(DATA)}"
    (await alice.request("PUT", path)).expect(404, "BLOB_UPLOAD_UNKNOWN")
    await mine.push_blob(DATA)
    (await alice.request("PUT", path)).expect(201)


@pytest.mark.parametrize("way", ["post", "put", "patch"])
@pytest.mark.usefixtures("chunk")
async def test_pushed_again_in_any_repository_it_is_whole_in_all(
    registry: Running, bob: Client, mine: Repository, way: str
) -> None:
    base = "/v2/bob/other/blobs/uploads/"
    if way == "post":
        (await bob.request("POST", f"{base}?digest={digest(DATA)}", data=DATA)).expect(201)
    else:
        place = await open_upload(bob, "bob/other")
        body = DATA
        if way == "patch":
            (await bob.request("PATCH", place, data=DATA)).expect(202)
            body = b""
        (await bob.request("PUT", f"{place}?digest={digest(DATA)}", data=body)).expect(201)
    for repository in (mine, bob.repository("bob/other")):
        (await repository.head(PATH)).expect(200)
        assert (await repository.get(PATH)).expect(200).body == DATA
    assert (await registry.parts.database.lost.overview(9)).links == 0


@pytest.mark.usefixtures("mine")
async def test_an_upload_whose_bytes_were_lost_since_they_came_is_begun_again(
    registry: Running, alice: Client, chunk: bytes
) -> None:
    place = await open_upload(alice, "alice/late")
    (await alice.request("PATCH", place, data=DATA)).expect(202)
    await registry.parts.store.delete(chunk)
    refused = await alice.request("PUT", f"{place}?digest={digest(DATA)}")
    refused.expect(404, "BLOB_UPLOAD_UNKNOWN")
    assert "begin again" in refused.body.decode()
    (await alice.request("GET", place)).expect(404)
    await alice.repository("alice/late").push_blob(DATA)


async def test_a_read_that_finds_it_again_takes_the_loss_back(
    registry: Running, mine: Repository, chunk: bytes
) -> None:
    await registry.parts.store.put(chunk, DATA)
    (await mine.head(PATH)).expect(404)
    assert (await mine.get(PATH)).expect(200).body == DATA
    await registry.parts.losses.settle()
    (await mine.head(PATH)).expect(200)


# Negative controls: each protection switched off, and what would be seen then


@pytest.mark.usefixtures("chunk")
async def test_without_the_look_at_losses_a_push_would_pass_the_layer_over(
    mine: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def find(self: Pulls, repository: str, digest: Digest, *, promise: bool) -> Blob:
        assert promise, "who may push asks"
        return await self.find(repository, digest)

    monkeypatch.setattr(Pulls, "find_whole", find)
    (await mine.head(PATH)).expect(200)
    (await mine.get(PATH)).expect(503)


@pytest.mark.usefixtures("chunk")
async def test_without_healing_a_push_would_not_help(
    registry: Running, mine: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(_: object) -> list[bytes]:
        return []

    monkeypatch.setattr(registry.parts.database.lost, "heal", nothing)
    place = await mine.start_upload()
    (await mine.request("PUT", f"{place}?digest={digest(DATA)}", data=DATA)).expect(503)
    (await mine.head(PATH)).expect(404)

"""What images are made of."""

import json

import pytest

from tests.contracts.metadata_values import ACTOR
from treescale.chunks.format.recipe import Recipe, encode
from treescale.chunks.format.split import DEFAULT
from treescale.errors import Corrupt
from treescale.metadata.database import Database
from treescale.metadata.records import Blob, Manifest
from treescale.oci.manifests import OCI_INDEX, OCI_MANIFEST
from treescale.registry import contents as contents_module
from treescale.registry.contents import RepositoryChunks

ONE, TWO, THREE = ((bytes([n]) * 32, 1000 * n) for n in (1, 2, 3))


def digest(letter: str) -> str:
    return "sha256:" + letter * 64


def layer(letter: str, *parts: tuple[bytes, int]) -> Blob:
    recipe = encode(Recipe(DEFAULT, parts))
    return Blob(digest(letter), sum(length for _, length in parts), None, recipe)


def small(letter: str) -> Blob:
    return Blob(digest(letter), 2, b"{}", None)


def named(letter: str, media_type: str) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest(letter), "size": 2}


def image(letter: str, *layers: str, subject: str = "") -> Manifest:
    document: dict[str, object] = {
        "schemaVersion": 2,
        "config": named("0", "application/vnd.oci.image.config.v1+json"),
        "layers": [named(one, "application/vnd.oci.image.layer.v1.tar") for one in layers],
    }
    if subject:
        document["subject"] = named(subject, OCI_MANIFEST)
    return Manifest(digest(letter), OCI_MANIFEST, json.dumps(document).encode())


def index(letter: str, *children: str) -> Manifest:
    document = {"schemaVersion": 2, "manifests": [named(one, OCI_MANIFEST) for one in children]}
    return Manifest(digest(letter), OCI_INDEX, json.dumps(document).encode())


def test_chunks_are_distinct_and_small_blobs_have_none() -> None:
    contents = RepositoryChunks()
    for blob in (layer("a", ONE, TWO, ONE), layer("b", TWO, THREE), small("0")):
        contents.add(blob)
    assert contents.chunks() == dict([ONE, TWO, THREE])
    assert contents.chunks([digest("b"), digest("0"), digest("f")]) == dict([TWO, THREE])
    assert contents.complete


def test_a_recipe_that_rotted_is_named() -> None:
    with pytest.raises(Corrupt, match=digest("a")):
        RepositoryChunks().add(Blob(digest("a"), 1, None, b"recipe"))


def test_reading_and_summing_end_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents_module, "PARTS_READ_MAX", 2)
    contents = RepositoryChunks()
    contents.add(layer("a", ONE, TWO))
    assert contents.complete
    contents.add(layer("b", THREE))
    contents.add(small("0"))
    assert not contents.complete
    assert contents.chunks() == dict([ONE, TWO])

    contents = RepositoryChunks()
    contents.add(layer("a", ONE, TWO))
    monkeypatch.setattr(contents_module, "PARTS_SUMMED_MAX", 3)
    assert contents.chunks() is not None
    assert contents.complete
    assert contents.chunks() is None
    assert not contents.complete


async def test_an_image_is_its_own_blobs_and_those_of_its_children(database: Database) -> None:
    for each in (image("1", "a"), image("2", "b", subject="1")):
        await database.manifests.put("alice/app", each, [], [], now=0.0, actor=ACTOR)
    contents = RepositoryChunks()

    async def blobs(top: Manifest) -> set[str]:
        return await contents.image(database.manifests, "alice/app", top)

    assert await blobs(image("1", "a")) == {digest("0"), digest("a")}
    assert await blobs(image("2", "b", subject="1")) == {digest("0"), digest("b")}
    both = {digest("0"), digest("a"), digest("b")}
    # A child that was never pushed, and one that is named twice.
    assert await blobs(index("9", "1", "2", "7", "1")) == both
    assert contents.complete


async def test_an_image_of_too_many_manifests_is_cut_off(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents_module, "MANIFESTS_READ_MAX", 2)
    contents = RepositoryChunks()
    await contents.image(database.manifests, "alice/app", index("9", "1", "2"))
    assert not contents.complete

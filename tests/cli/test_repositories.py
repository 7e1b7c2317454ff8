"""`treescale repo`: what is there, what deduplication saves, where chunks belong."""

import json

import pytest

from tests.cli.conftest import Command
from treescale.chunks.recipe import Recipe, encode
from treescale.chunks.split import DEFAULT
from treescale.cli import repo as repo_module
from treescale.cli import reposhow
from treescale.metadata.protocols import Database
from treescale.metadata.records import (
    Blob,
    LayoutRecord,
    LayoutStore,
    Manifest,
    NewBlob,
    StoreRecord,
)

NOW = 1_700_000_000.0
SHARED, OWN = (b"\x01" * 32, 2_000_000), (b"\x02" * 32, 1_000_000)
CONFIG = "sha256:" + "c" * 64
LAYERS = ["sha256:" + digit * 64 for digit in "ab"]
STORES = ("1" * 32, "2" * 32, "3" * 32)


def named(digest: str, kind: str) -> dict[str, object]:
    return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": digest, "size": 1}


def image(digit: str, *layers: str) -> Manifest:
    document = {
        "schemaVersion": 2,
        "config": named(CONFIG, "config.v1+json"),
        "layers": [named(layer, "layer.v1.tar") for layer in layers],
    }
    payload = json.dumps(document).encode()
    return Manifest(f"sha256:{digit * 64}", "application/vnd.oci.image.manifest.v1+json", payload)


MANIFEST, SMALLER = image("d", *LAYERS), image("e", LAYERS[1])


def layer(digest: str, *parts: tuple[bytes, int]) -> NewBlob:
    recipe = encode(Recipe(DEFAULT, parts))
    return NewBlob(Blob(digest, sum(size for _, size in parts), None, recipe), parts)


async def fill(database: Database) -> None:
    """Two layers of alice/app share a chunk, which bob/app has too."""
    first, second = layer(LAYERS[0], SHARED, OWN), layer(LAYERS[1], SHARED)
    small = NewBlob(Blob(CONFIG, 2, b"{}", None), ())
    for new in (first, second, small):
        await database.blobs.commit("alice/app", new, upload_id=None, now=NOW)
    await database.blobs.commit("bob/app", second, upload_id=None, now=NOW)
    await database.manifests.put("alice/app", MANIFEST, [], ["1", "latest"], now=NOW)
    await database.manifests.put("alice/app", SMALLER, [], ["small"], now=NOW)


async def spread(database: Database) -> None:
    """Give the cluster three stores on two servers, a layout, an older one, and a debt."""
    for store, server in zip(STORES, ("one", "one", "two"), strict=True):
        record = StoreRecord(store, server, f"/{store[0]}", "", 1.0, NOW, server_id=server)
        await database.stores.register(record)
    labels = tuple(
        LayoutStore(store, server, "", 1.0)
        for store, server in zip(STORES, ("one", "one", "two"), strict=True)
    )
    await database.layouts.propose(LayoutRecord(1, labels[:2], 2, NOW))
    await database.layouts.propose(LayoutRecord(2, labels, 2, NOW))
    await database.owed.add([(SHARED[0], STORES[2]), (b"\x09" * 32, STORES[2])], now=NOW)


@pytest.fixture
def filled(command: Command) -> Command:
    command.database(fill)
    return command


def test_repositories_are_listed(filled: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repo_module, "page_size", 1)
    rows = [line.split("\t")[:2] for line in filled.here("repo", "list").splitlines()]
    assert rows == [["alice/app", "no"], ["bob/app", "no"]]


def test_a_repository_is_shown_with_what_it_saves(
    filled: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reposhow, "page_size", 1)
    shown = filled.json("repo", "show", "alice/app")
    assert (shown["tags"], shown["manifests"], shown["blobs"]) == (3, 2, 3)
    assert shown["pushed_bytes"] == 5_000_002
    assert shown["stored_bytes"] == 3_000_002
    assert shown["deduplication_saved_bytes"] == 2_000_000
    assert (shown["shared_with_others_bytes"], shown["own_bytes"]) == (2_000_000, 1_000_002)
    assert [row["tag"] for row in shown["tag_list"]] == ["1", "latest", "small"]
    assert {row["digest"] for row in shown["tag_list"]} == {MANIFEST.digest, SMALLER.digest}
    assert [(row["blob"], row["kept_as"]) for row in shown["blob_list"]] == [
        (LAYERS[0], "chunks"),
        (LAYERS[1], "chunks"),
        (CONFIG, "inline"),
    ]
    lines = filled.here("repo", "show", "alice/app").splitlines()
    assert "deduplication_saved_bytes\t2000000" in lines
    assert f"latest\t{MANIFEST.digest}\t{MANIFEST.media_type}\t2\t3000000\t0\t0" in lines
    assert f"{CONFIG}\t2\tinline" in lines


def test_where_the_chunks_belong_is_shown(filled: Command) -> None:
    filled.database(spread)
    shown = filled.json("repo", "show", "alice/app")
    assert (shown["layout"], shown["complete"]) == (2, True)
    places = shown["belongs_on"]
    assert [place["server"] for place in places] == ["one"] * (len(places) - 1) + ["two"]
    assert places[-1] == {
        "server": "two",
        "store": STORES[2],
        "path": "/3",
        "chunks": 2,
        "bytes": 3_000_000,
        "share": 0.5,
        "copies_owed": 1,
        "earlier_chunks": 0,
        "earlier_bytes": 0,
    }
    assert sum(place["bytes"] for place in places) == 6_000_000, "two copies"
    assert sum(place["earlier_chunks"] for place in places) == 2, "all of it was on server one"
    tags = {row["tag"]: row for row in shown["tag_list"]}
    assert (tags["latest"]["chunks"], tags["latest"]["chunked_bytes"]) == (2, 3_000_000)
    assert (tags["small"]["chunks"], tags["small"]["chunked_bytes"]) == (1, 2_000_000)
    assert [tags[tag]["servers"] for tag in ("latest", "small")] == [2, 2]
    assert [tags[tag]["copies_owed"] for tag in ("latest", "small")] == [1, 1]
    assert tags["latest"]["belongs_on"] == places


def test_one_image_is_shown_alone(filled: Command) -> None:
    filled.database(spread)
    shown = filled.json("repo", "show", "alice/app:small")
    assert [row["tag"] for row in shown["tag_list"]] == ["small"]
    assert [row["blob"] for row in shown["blob_list"]] == [LAYERS[1], CONFIG]
    assert sum(place["bytes"] for place in shown["belongs_on"]) == 4_000_000
    assert shown["pushed_bytes"] == 5_000_002, "the summary is the repository's"
    filled.refused("repo", "show", "alice/app:none")


def test_places_are_said_to_be_where_chunks_belong_and_not_where_they_are(
    filled: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = ("repo", "show", "alice/app", "--data", str(filled.data))
    assert "No layout" in filled.run(*where).stderr
    filled.database(spread)
    shown = filled.run(*where)
    assert f"place\ttwo\t{STORES[2]}\t/3\t2\t3000000\t0.5\t1\t0\t0" in shown.stdout
    assert "no store was asked" in shown.stderr
    assert "older layout" in shown.stderr
    monkeypatch.setattr("treescale.registry.contents.parts_read_max", 1)
    assert "Not everything" in filled.run(*where).stderr
    assert filled.json("repo", "show", "alice/app")["complete"] is False
    monkeypatch.setattr("treescale.registry.contents.parts_summed_max", 2)
    rows = {row["tag"]: row for row in filled.json("repo", "show", "alice/app")["tag_list"]}
    assert "chunks" not in rows["latest"]
    monkeypatch.setattr("treescale.cli.output.for_people", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    assert "█████░░░░░  50%" in filled.here("repo", "show", "alice/app")


def test_people_see_tables(filled: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treescale.cli.output.for_people", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    shown = filled.here("repo", "show", "alice/app")
    assert "5 MB" in shown
    assert "2 MB" in shown
    assert "media type" in shown
    assert "created (UTC)" in filled.here("repo", "list")


def test_a_narrow_terminal_loses_nothing(filled: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treescale.cli.output.for_people", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    shown = filled.here("repo", "show", "alice/app")
    assert "…" not in shown
    assert shown.count("d") >= len(MANIFEST.digest) - len("sha256:")
    assert shown.count("c") >= len(CONFIG) - len("sha256:")


def test_a_repository_is_opened_and_closed(filled: Command) -> None:
    assert "everybody" in filled.here("repo", "public", "alice/app")
    assert filled.json("repo", "show", "alice/app")["public"] is True
    assert filled.json("repo", "private", "alice/app") == {"name": "alice/app", "public": False}
    assert filled.json("repo", "show", "alice/app")["public"] is False
    assert "USERNAME/IMAGE" in filled.refused("repo", "public", "Not A Name")


def test_a_repository_is_deleted(filled: Command) -> None:
    assert filled.here("repo", "delete", "alice/app") == "alice/app deleted\n"
    assert [row["name"] for row in filled.json("repo", "list")] == ["bob/app"]
    for verb in ("delete", "show"):
        filled.refused("repo", verb, "alice/app")

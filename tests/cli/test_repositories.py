"""`treescale repo`: what is there, what deduplication saves, where chunks belong."""

import json
import os
from datetime import datetime
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.contracts.metadata_values import ACTOR, APP
from treescale.chunks.format.recipe import Recipe, encode
from treescale.chunks.format.split import DEFAULT
from treescale.console.content import report
from treescale.metadata.database import Database
from treescale.metadata.records import (
    Blob,
    LayoutRecord,
    LayoutStore,
    Manifest,
    NewBlob,
    StoreRecord,
)
from treescale.metadata.usage.pull_counts import PullCounts, Pulled
from treescale.oci import pages
from treescale.registry.naming import nearest

NOW = 1_700_000_000.0
SHARED, OWN = (b"\x01" * 32, 2_000_000), (b"\x02" * 32, 1_000_000)
CONFIG = "sha256:" + "c" * 64
OWN_LAYER = "sha256:" + "f" * 64
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
        await database.blobs.commit("alice/app", new, upload_id=None, now=NOW, actor=ACTOR)
    await database.blobs.commit("bob/app", second, upload_id=None, now=NOW, actor=ACTOR)
    await database.manifests.put("alice/app", MANIFEST, [], ["1", "latest"], now=NOW, actor=ACTOR)
    await database.manifests.put("alice/app", SMALLER, [], ["small"], now=NOW, actor=ACTOR)


async def spread(database: Database) -> None:
    """Give the cluster three stores on two servers, a layout, an older one, and a debt."""
    for store, server in zip(STORES, ("one", "one", "two"), strict=True):
        record = StoreRecord(store, server, f"/{store[0]}", "", 1.0, NOW, server_id=server)
        await database.stores.register(record)
    labels = tuple(
        LayoutStore(store, server, "", 1.0)
        for store, server in zip(STORES, ("one", "one", "two"), strict=True)
    )
    await database.layouts.propose(LayoutRecord(1, labels[:2], 2, NOW), actor=ACTOR)
    await database.layouts.propose(LayoutRecord(2, labels, 2, NOW), actor=ACTOR)
    await database.under_replicated.add(
        [(SHARED[0], STORES[2]), (b"\x09" * 32, STORES[2])], now=NOW
    )


@pytest.fixture
def filled(command: Command) -> Command:
    command.database(fill)
    return command


def test_repositories_are_listed(filled: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "PAGE_ENTRIES_MAX", 1)
    rows = [line.split("\t")[:2] for line in filled.here("repo", "list").splitlines()]
    assert rows == [["alice/app", "no"], ["bob/app", "no"]]


@pytest.mark.parametrize(
    ("order", "names"),
    [("name", ["alice/app", "bob/app"]), ("size", ["alice/app", "bob/app"])],
)
def test_they_are_listed_with_what_they_hold(filled: Command, order: str, names: list[str]) -> None:
    rows = filled.json("repo", "list", "--sort", order)
    assert [row["name"] for row in rows] == names
    app, bob = rows
    assert (app["size"], app["blobs"], app["tags"]) == (5_000_002, 3, 3)
    assert app["pushed"] == "2023-11-14T22:13:20Z"
    assert (bob["size"], bob["tags"], bob["pushed"]) == (2_000_000, 0, None)


def test_the_last_one_pushed_to_is_the_first(filled: Command) -> None:
    async def push(database: Database) -> None:
        put = database.manifests.put
        await put("bob/app", SMALLER, [], ["1"], now=NOW + 60, actor=ACTOR)
        await database.blobs.commit(
            "bob/app",
            layer(OWN_LAYER, (b"\x03" * 32, 4_000_000)),
            upload_id=None,
            now=NOW,
            actor=ACTOR,
        )

    filled.database(push)
    for order in ("pushed", "size"):
        rows = filled.json("repo", "list", "--sort", order)
        assert [row["name"] for row in rows] == ["bob/app", "alice/app"]


def test_who_pushed_a_tag_and_when_it_was_pulled(filled: Command) -> None:
    async def pull(database: Database) -> None:
        one = Pulled("alice/app", MANIFEST.digest, NOW + 60, 3)
        await PullCounts(database.connections).add([one], actor="server:s1")

    filled.database(pull)
    tags = {row["tag"]: row for row in filled.json("repo", "show", "alice/app")["tag_list"]}
    assert (tags["latest"]["pushed"], tags["latest"]["pushed_by"]) == (
        "2023-11-14T22:13:20Z",
        ACTOR,
    )
    assert (tags["latest"]["pulled"], tags["latest"]["pulls"]) == ("2023-11-14T22:14:20Z", 3)
    assert (tags["small"]["pulled"], tags["small"]["pulls"]) == (None, 0)


def test_a_repository_is_shown_with_what_it_saves(
    filled: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "PAGE_SIZE", 1)
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
    told = f"latest\t{MANIFEST.digest}\t{MANIFEST.media_type}\t2\t3000000\t0\t0\t0"
    assert f"{told}\t2023-11-14T22:13:20Z\t{ACTOR}\t-\t0" in lines
    assert f"{CONFIG}\t2\tinline\t-" in lines


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
        "copies_owed": None,
        "copies_owed_noted": 1,
        "earlier_chunks": 0,
        "earlier_bytes": 0,
        "uncounted_chunks": 2,
    }
    assert sum(place["bytes"] for place in places) == 6_000_000, "two copies"
    assert sum(place["earlier_chunks"] for place in places) == 2, "all of it was on server one"
    tags = {row["tag"]: row for row in shown["tag_list"]}
    assert (tags["latest"]["chunks"], tags["latest"]["chunked_bytes"]) == (2, 3_000_000)
    assert (tags["small"]["chunks"], tags["small"]["chunked_bytes"]) == (1, 2_000_000)
    assert [tags[tag]["servers"] for tag in ("latest", "small")] == [2, 2]
    assert [tags[tag]["copies_owed_noted"] for tag in ("latest", "small")] == [1, 1]
    assert [tags[tag]["copies_owed"] for tag in ("latest", "small")] == [None, None]
    assert tags["latest"]["uncounted_chunks"] == 2
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
    assert f"place\ttwo\t{STORES[2]}\t/3\t2\t3000000\t0.5\t-\t0\t0\t2" in shown.stdout
    assert "no store was asked" in shown.stderr
    assert "older layout" in shown.stderr
    monkeypatch.setattr("treescale.registry.contents.PARTS_READ_MAX", 1)
    assert "Not everything" in filled.run(*where).stderr
    assert filled.json("repo", "show", "alice/app")["complete"] is False
    monkeypatch.setattr("treescale.registry.contents.PARTS_SUMMED_MAX", 2)
    rows = {row["tag"]: row for row in filled.json("repo", "show", "alice/app")["tag_list"]}
    assert "chunks" not in rows["latest"]
    monkeypatch.setattr("treescale.cli.terminal.output.for_people", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    assert "█████░░░░░  50%" in filled.here("repo", "show", "alice/app")


def test_people_see_tables(filled: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treescale.cli.terminal.output.for_people", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    shown = filled.here("repo", "show", "alice/app")
    assert "5 MB" in shown
    assert "2 MB" in shown
    assert "media type" in shown
    assert "created (UTC)" in filled.here("repo", "list")


def test_a_narrow_terminal_loses_nothing(filled: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treescale.cli.terminal.output.for_people", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    shown = filled.here("repo", "show", "alice/app")
    assert "…" not in shown
    assert shown.count("d") >= len(MANIFEST.digest) - len("sha256:")
    assert shown.count("c") >= len(CONFIG) - len("sha256:")


def test_a_repository_is_opened_and_closed(filled: Command) -> None:
    assert "everybody" in filled.here("repo", "public", "alice/app")
    assert filled.json("repo", "show", "alice/app")["public"] is True
    told = filled.json("repo", "private", "alice/app")
    assert told == {"name": "alice/app", "public": False, "visibility": "private"}
    assert filled.json("repo", "show", "alice/app")["public"] is False
    assert "USERNAME/IMAGE" in filled.refused("repo", "public", "Not A Name")


def test_none_is_made_in_a_namespace_that_is_nobodys(filled: Command) -> None:
    filled.here("user", "add", "robert", "--password-stdin", text_in="correct horse")
    for visibility in ("public", "internal", "private"):
        refused = filled.refused("repo", visibility, "roberta/app")
        assert "no organisation and no user roberta: did you mean robert?" in refused


def test_a_repository_is_deleted(filled: Command) -> None:
    assert filled.here("repo", "delete", "alice/app") == "alice/app deleted\n"
    assert [row["name"] for row in filled.json("repo", "list")] == ["bob/app"]
    for verb in ("delete", "show"):
        filled.refused("repo", verb, "alice/app")


class TestRestore:
    """`repo deleted` and `repo restore`."""

    def test_what_was_deleted_is_listed_and_brought_back(self, filled: Command) -> None:
        filled.here("repo", "delete", f"alice/app@{MANIFEST.digest}")
        (first, *_) = filled.json("repo", "deleted", "alice")
        assert (first["name"], first["digest"]) == ("alice/app", MANIFEST.digest)
        filled.here("cluster", "set", "collection=off")
        (first, *_) = filled.json("repo", "deleted", "alice")
        assert first["space_back_by"] is None, "nobody knows when"
        assert filled.here("repo", "deleted").endswith("Z\t-\n")
        told = filled.json("repo", "restore", "alice/app:latest")
        assert told == {"restored": "alice/app:latest", "missing": []}
        assert tags(filled) == {
            "1": MANIFEST.digest,
            "latest": MANIFEST.digest,
            "small": SMALLER.digest,
        }
        for mistaken in ("alice/app:latest", f"alice/app@sha256:{64 * '0'}", "alice/none"):
            refused = filled.refused("repo", "restore", mistaken)
            assert "no deleted" in refused
            assert "treescale repo deleted alice" in refused
        mistyped = filled.refused("repo", "deleted", "alicia")
        assert "no organisation and no user alicia" in mistyped

    def test_what_was_an_organisations_is_restored_to_one(self, filled: Command) -> None:
        filled.here("user", "add", "carol", "--password-stdin", text_in="correct horse")
        filled.here("org", "add", "acme", "--owner", "carol")
        filled.here("repo", "copy", "alice/app:latest", "acme/app:1")
        filled.here("org", "remove", "acme", "--yes")
        refused = filled.refused("repo", "restore", "acme/app")
        assert "treescale org add acme --owner USER" in refused
        assert filled.json("repo", "deleted", "acme")
        filled.here("org", "add", "acme", "--owner", "carol")
        filled.here("repo", "restore", "acme/app")
        assert filled.json("repo", "show", "acme/app")["tags"] == 1

    def test_its_space_is_back_a_lease_an_hour_and_the_trash_later(self, filled: Command) -> None:
        filled.here("repo", "delete", "alice/app:latest")
        (first,) = filled.json("repo", "deleted")
        until, back = (
            datetime.fromisoformat(first[name]) for name in ("restorable_until", "space_back_by")
        )
        assert (back - until).total_seconds() == pytest.approx(49 * 3600, abs=1)


class TestDelete:
    """`repo delete` with a tag, with a digest, and with what is not there."""

    def test_a_tag_goes_alone(self, filled: Command) -> None:
        told = filled.here("repo", "delete", "alice/app:latest")
        assert told == "alice/app:latest deleted\n"
        assert tags(filled) == {"1": MANIFEST.digest, "small": SMALLER.digest}
        row = filled.json("repo", "delete", "alice/app:1")
        assert row == {"name": "alice/app", "tag": "1"}
        assert tags(filled) == {"small": SMALLER.digest}
        manifests = filled.json("repo", "show", "alice/app")["manifests"]
        assert manifests == 2, "a digest that somebody deployed goes on"

    def test_a_digest_goes_with_its_tags(self, filled: Command) -> None:
        row = filled.json("repo", "delete", f"alice/app@{MANIFEST.digest}")
        assert row == {"name": "alice/app", "digest": MANIFEST.digest, "tags": ["1", "latest"]}
        assert tags(filled) == {"small": SMALLER.digest}
        told = filled.here("repo", "delete", f"alice/app@{SMALLER.digest}")
        assert told == f"alice/app@{SMALLER.digest} deleted and its tags small\n"
        assert [one["name"] for one in filled.json("repo", "list")] == ["alice/app", "bob/app"]

    def test_what_is_not_there_names_the_nearest(
        self, filled: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(nearest, "PAGE_SIZE", 2)
        tag = filled.refused("repo", "delete", "alice/app:latst")
        assert "no tag latst in alice/app: did you mean latest?" in tag
        assert "repo show alice/app" in tag
        assert "did you mean" not in filled.refused("repo", "delete", "alice/app:zzz")
        name = filled.refused("repo", "delete", "alice/ap:latest")
        assert "no repository alice/ap: did you mean alice/app?" in name
        assert name == filled.refused("repo", "delete", "alice/ap")
        digest = "sha256:" + "0" * 64
        assert "repo show alice/app" in filled.refused("repo", "delete", f"alice/app@{digest}")
        assert "did you mean alice/app" in filled.refused("repo", "delete", f"alice/ap@{digest}")
        assert len(tags(filled)) == 3

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("alice/app:", "a tag is"),
            ("alice/app:-x", "a tag is"),
            ("alice/app@sha256:12", "digest"),
            ("alice/app:1@sha256:" + "0" * 64, "not both"),
            ("app:1", "USERNAME/app"),
            ("registry.example:5000/alice/app:1", "USERNAME/IMAGE"),
        ],
    )
    def test_what_names_no_image_is_refused(self, filled: Command, text: str, said: str) -> None:
        assert said in filled.refused("repo", "delete", text)
        assert len(tags(filled)) == 3

    def test_it_asks_first_and_says_what_would_go(
        self, filled: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "isatty", lambda number: number == 0)
        where = ("--data", str(filled.data))
        for text, asked in (
            ("alice/app:1", "Delete the tag alice/app:1?"),
            (f"alice/app@{MANIFEST.digest}", f"{MANIFEST.digest} and its tags 1, latest?"),
            ("alice/app", "Delete alice/app with all its tags and manifests?"),
        ):
            result = filled.run("repo", "delete", text, *where, text_in="n\n")
            assert result.exit_code == 1
            assert asked in result.stdout
        assert len(tags(filled)) == 3
        assert "deleted" in filled.run("repo", "delete", "alice/app:1", "--yes", *where).stdout


def tags(command: Command) -> dict[str, str]:
    shown = command.json("repo", "show", "alice/app")["tag_list"]
    return {row["tag"]: row["digest"] for row in shown}


def test_an_image_is_copied_and_repositories_are_moved(filled: Command) -> None:
    for name in ("alice", "bob"):
        words = ("user", "add", name, "--adopt", "--password-stdin")
        filled.here(*words, text_in="correct horse")
    told = filled.here("repo", "copy", "alice/app:small", "bob/copy:1")
    assert told == f"bob/copy:1 is {SMALLER.digest} from now on.\n"
    shown = filled.json("repo", "show", "bob/copy")
    assert [one["tag"] for one in shown["tag_list"]] == ["1"]
    assert "which image" in filled.refused("repo", "copy", "alice/app", "bob/copy")
    assert "bob/new" in filled.here("repo", "move", "bob/copy", "bob/new")
    for mistaken in (("copy", "alice/app:v1", "bobb/app:1"), ("move", "bob/new", "bobb/new")):
        assert "no organisation and no user bobb" in filled.refused("repo", *mistaken), mistaken
    assert "did you mean" not in filled.refused("repo", "move", "bob/copy", "bob/none")
    assert "alice/app" in filled.refused("repo", "move", "bob/", "alice/")
    filled.here("repo", "delete", "alice/app")
    filled.here("user", "remove", "bob", "--give-to", "alice")
    names = [one["name"] for one in filled.json("repo", "list")]
    assert names == ["alice/app", "alice/new"]
    assert [one["name"] for one in filled.json("user", "list")] == ["alice"]


def test_what_a_repository_says_of_itself(command: Command, tmp_path: Path) -> None:
    async def fill(database: Database) -> None:
        await database.repositories.set_visibility(APP, "private", now=NOW, actor=ACTOR)

    command.database(fill)
    file = tmp_path / "README.md"
    file.write_text("# App\n")
    describe = ("repo", "describe", APP)
    assert "is described" in command.here(*describe, "--file", str(file))
    assert command.json(*describe) == {"name": APP, "description": "# App"}
    file.write_text("")
    assert "has no description" in command.here(*describe, "--file", str(file))
    assert "cannot read" in command.refused(*describe, "--file", str(tmp_path))

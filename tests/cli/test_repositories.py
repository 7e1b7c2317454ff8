"""`treescale repo` and `treescale cluster`: what is there, and what deduplication saves."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from treescale.cli import repo as repo_module
from treescale.metadata.protocols import Database
from treescale.metadata.records import Blob, Manifest, NewBlob, StoreRecord

NOW = 1_700_000_000.0
SHARED, OWN = (b"\x01" * 32, 2_000_000), (b"\x02" * 32, 1_000_000)
CONFIG = "sha256:" + "c" * 64
LAYERS = ["sha256:" + digit * 64 for digit in "ab"]
MANIFEST = Manifest("sha256:" + "d" * 64, "application/vnd.oci.image.manifest.v1+json", b"{}")


async def fill(database: Database) -> None:
    """Two layers of alice/app share a chunk, which bob/app has too."""
    first = NewBlob(Blob(LAYERS[0], 3_000_000, None, b"recipe"), (SHARED, OWN))
    second = NewBlob(Blob(LAYERS[1], 2_000_000, None, b"recipe"), (SHARED,))
    small = NewBlob(Blob(CONFIG, 2, b"{}", None), ())
    for new in (first, second, small):
        await database.blobs.commit("alice/app", new, upload_id=None, now=NOW)
    await database.blobs.commit("bob/app", second, upload_id=None, now=NOW)
    await database.manifests.put("alice/app", MANIFEST, [], ["1", "latest"], now=NOW)


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
    monkeypatch.setattr(repo_module, "page_size", 1)
    shown = filled.json("repo", "show", "alice/app")
    assert (shown["tags"], shown["manifests"], shown["blobs"]) == (2, 1, 3)
    assert shown["pushed_bytes"] == 5_000_002
    assert shown["stored_bytes"] == 3_000_002
    assert shown["deduplication_saved_bytes"] == 2_000_000
    assert (shown["shared_with_others_bytes"], shown["own_bytes"]) == (2_000_000, 1_000_002)
    assert [row["tag"] for row in shown["tag_list"]] == ["1", "latest"]
    assert {row["digest"] for row in shown["tag_list"]} == {MANIFEST.digest}
    assert [(row["blob"], row["kept_as"]) for row in shown["blob_list"]] == [
        (LAYERS[0], "chunks"),
        (LAYERS[1], "chunks"),
        (CONFIG, "inline"),
    ]
    lines = filled.here("repo", "show", "alice/app").splitlines()
    assert "deduplication_saved_bytes\t2000000" in lines
    assert f"latest\t{MANIFEST.digest}\t{MANIFEST.media_type}" in lines
    assert f"{CONFIG}\t2\tinline" in lines


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


def test_the_cluster_says_what_it_holds_and_saves(filled: Command, tmp_path: Path) -> None:
    here, away = tmp_path / "here", tmp_path / "away"
    for path, store in ((here, "1" * 32), (away, "9" * 32)):
        path.mkdir()
        (path / "store.json").write_text(json.dumps({"format": 1, "store": store}))

    async def register(database: Database) -> None:
        for store, path in (("1" * 32, here), ("2" * 32, away), ("3" * 32, tmp_path / "no")):
            record = StoreRecord(store, "server1", str(path), "", 1.0, NOW)
            await database.stores.register(record)

    filled.database(register)
    status = filled.json("cluster", "status")
    assert status["repositories"] == 2
    assert status["pushed_bytes"] == 7_000_002
    assert status["stored_bytes"] == 3_000_002
    assert status["deduplication_saved_bytes"] == 4_000_000
    assert status["deduplication_saved_percent"] == 57.1
    first, second, third = status["stores"]
    assert first["total_bytes"] >= first["free_bytes"] > 0
    assert second["free_bytes"] is None, "another store lies at this path"
    assert third["free_bytes"] is None
    assert "deduplication_saved_percent\t57.1" in filled.here("cluster", "status")


def test_an_empty_cluster_saves_nothing(command: Command) -> None:
    status = command.json("cluster", "status")
    assert (status["deduplication_saved_percent"], status["stores"]) == (0.0, [])

"""`treescale fsck`, `repair` and `verify` while no server runs: the command walks by itself."""

import asyncio
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.cli.walked import answer, files, own_log, pair, quick, threads

__all__ = ["own_log", "pair", "quick", "threads"]
from treescale.chunks.disk.lock import DirectoryLock
from treescale.maintenance.following import Following


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)


def test_what_is_whole_is_said_to_be_and_who_walked_it(pair: Command) -> None:
    result = pair.run("fsck", "--data", str(pair.data))
    assert result.exit_code == 0, result.output
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert ["verdict", "whole"] in lines
    assert ["held", "12"] in lines
    assert ["read", "12"] in lines
    assert len([line for line in lines if line[0] == "store"]) == 2
    for store in ("one", "two"):
        assert f"No server has {pair.data / store}: this command walks it." in result.stderr


@pytest.mark.long
def test_missing_copies_are_found_planned_and_made(pair: Command) -> None:
    gone = files(pair, "one")[0]
    gone.unlink()
    status, found = answer(pair, "fsck", "--quick")
    assert (status, found["verdict"], found["missing"]) == (3, "under-replicated", 1)
    status, plan = answer(pair, "repair", "--dry-run")
    assert (status, plan["to_fetch"], plan["to_fetch_bytes"]) == (0, 1, 5000)
    assert not gone.exists()
    assert pair.here("repair", "--dry-run").splitlines()[:2] == [
        "to_fetch\t1",
        "to_fetch_bytes\t5000",
    ]
    status, did = answer(pair, "repair")
    assert (status, did["fetched"], did["moved_bytes"]) == (0, 1, 5000)
    assert gone.exists()
    assert answer(pair, "fsck", "--quick")[0] == 0


@pytest.mark.long
def test_rotten_copies_are_found_with_who_has_them_and_replaced(pair: Command) -> None:
    bad = files(pair, "two")[3]
    flip(bad)
    assert answer(pair, "fsck", "--quick")[0] == 0
    status, did = answer(pair, "verify")
    assert (status, did["rotten"], did["fetched"]) == (0, 1, 1)
    flip(bad)
    status, found = answer(pair, "fsck")
    assert (status, found["verdict"], found["lost"]) == (1, "lost or rotten", 0)
    assert found["rotten_copies"] == [{"chunk": bad.name, "repositories": ["alice/app"]}]
    assert answer(pair, "fsck", "--repair")[0] == 0


@pytest.mark.long
def test_what_is_lost_is_listed_with_its_repositories(pair: Command) -> None:
    name = files(pair, "one")[2].name
    for store in ("one", "two"):
        next(path for path in files(pair, store) if path.name == name).unlink()
    status, found = answer(pair, "fsck", "--quick")
    assert (status, found["lost"], found["missing"]) == (1, 1, 2)
    assert [(row["repository"], row["chunks"]) for row in found["lost_blobs"]] == [
        ("alice/app", [name])
    ]
    result = pair.run("fsck", "--quick", "--data", str(pair.data))
    assert result.exit_code == 1
    assert "lost_blobs\talice/app\t-\t" in result.stdout
    status, _ = answer(pair, "repair")
    assert status == 1


@pytest.mark.long
def test_a_store_that_cannot_be_asked_is_named_with_the_reason(pair: Command) -> None:
    (pair.data / "two").rename(pair.data / "elsewhere")
    status, found = answer(pair, "fsck")
    assert (status, found["verdict"]) == (3, "under-replicated")
    assert [(row["where"], row["why"]) for row in found["not_asked"]] == [
        (f"host-two:{pair.data}/two", "its server is stopped")
    ]
    assert found["held"] == 6
    files(pair, "one")[0].unlink()
    status, found = answer(pair, "fsck")
    assert (status, found["unfound"], found["lost"]) == (3, 1, 0), "the other may have it"


def test_a_disk_that_was_mounted_elsewhere_is_found_by_data(pair: Command) -> None:
    (pair.data / "two").rename(pair.data / "elsewhere")
    result = pair.run(
        "fsck", "--data", str(pair.data), "--data", str(pair.data / "elsewhere"), "--quick"
    )
    assert result.exit_code == 0, result.output


def test_what_a_server_has_is_left_to_it(pair: Command) -> None:
    with DirectoryLock() as lock:
        asyncio.run(lock.take([str(pair.data / "two")]))
        status, found = answer(pair, "fsck", "--quick")
    assert status == 3
    assert [row["path"] for row in found["walked_here"]] == [str(pair.data / "one")]


def test_files_of_another_user_are_left_alone(
    pair: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("treescale.server.local_walk.os.geteuid", lambda: 12345)
    result = pair.run("fsck", "--quick", "--data", str(pair.data))
    assert result.exit_code == 3
    assert "run this as that user" in result.stderr


def test_whoever_stops_the_command_hears_that_the_job_goes_on(
    pair: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Following, "run", interrupted)
    result = pair.run("verify", "--data", str(pair.data))
    assert result.exit_code == 130
    assert "goes on without this command" in result.stderr


def test_a_wrong_command_line_is_status_2(pair: Command) -> None:
    assert pair.run("fsck", "--quik", "--data", str(pair.data)).exit_code == 2


def test_before_the_first_server_there_is_nothing_to_ask(command: Command) -> None:
    assert answer(command, "fsck")[0] == 0

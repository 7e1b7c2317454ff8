"""`treescale backup` and `restore` as they are typed: files, pipes, passphrases, and kills."""

import json
import os
import re
import secrets
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from tests.cli.conftest import Command
from tests.metadata.portable.every_row import ROWS, fill
from tests.templates import migrate_by_template
from treescale.cli.terminal.actor import cli_actor
from treescale.errors import BackupInvalid, DatabaseUnavailable
from treescale.lease_times import COLLECTION_SETTING
from treescale.maintenance.backup import sealing
from treescale.metadata.database import Database
from treescale.metadata.portable.last_backup import LastBackup, last_backup

RUN = [sys.executable, "-m", "treescale"]
SECONDS_MAX = 60
PIPE_BYTES = 131_072
"""Which are read at once."""
PASSPHRASE = "correct horse\n"


@pytest.fixture(autouse=True)
def quick_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    migrate_by_template(monkeypatch)


def quick_scrypt(salt: bytes, length: int, _n: int, r: int, p: int) -> Scrypt:
    """Derive a key in a millisecond, and not in a third of a second."""
    return Scrypt(salt, length, 2, r, p)


@pytest.fixture
def full(command: Command) -> Command:
    """A command line on a database with rows in every table."""

    async def put(database: Database) -> None:
        await database.connections.write(fill)

    command.database(put)
    return command


@pytest.fixture
def target(tmp_path: Path) -> Command:
    """A command line on a directory without a database."""
    (tmp_path / "target").mkdir()
    return Command(tmp_path / "target")


def users(command: Command) -> Any:
    return command.json("user", "list")


def test_a_backup_is_restored(full: Command, target: Command) -> None:
    file = full.data / "backup"
    said = full.here("backup", str(file))
    assert re.fullmatch(r"Backup of [\d,]+ rows, [\d.]+ kB: .*backup\n", said)
    assert file.stat().st_mode & 0o777 == 0o600
    found = target.run("restore", str(file), "--data", str(target.data))
    assert found.exit_code == 0, found.output
    assert re.fullmatch(r"Restored [\d,]+ rows\.\n", found.stdout)
    assert re.search(r"A backup of \d+ s ago, by TreeScale", found.stderr)
    assert "What was deleted or revoked in those" in found.stderr
    assert "collect --after-restore" in found.stderr
    assert users(target) == users(full)
    assert target.database(lambda database: database.settings.get(COLLECTION_SETTING)) == "frozen"


def test_scripts_are_told_all_of_it(
    full: Command, target: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "Scrypt", quick_scrypt)
    file = str(full.data / "backup")
    secret = tmp_path / "passphrase"
    secret.write_text(PASSPHRASE)
    made = full.json("backup", file, "--passphrase-file", str(secret))
    assert made["encrypted"]
    assert made["rows"]["users"] == ROWS
    assert made["bytes"] == Path(file).stat().st_size
    found = target.json("restore", file, "--passphrase-file", str(secret), "--keep-identity")
    assert (found["taken"], found["rows"]) == (made["taken"], made["rows"])
    assert found["age_seconds"] < SECONDS_MAX
    assert (found["keep_identity"], found["collection"]) == (True, None)
    assert found["moved"] == str(full.data / "treescale.db.moved")
    assert not (full.data / "treescale.db").exists()


def test_a_move_to_a_file_beside_the_old_one(full: Command) -> None:
    file, new = str(full.data / "backup"), full.data / "new.db"
    full.here("backup", file)
    done = full.run("restore", file, "--keep-identity", "--database", f"sqlite:///{new}")
    assert done.exit_code == 0, done.output
    assert {path.name for path in full.data.iterdir()} == {"backup", "new.db", "treescale.db.moved"}


def test_without_the_old_file_somebody_must_see_to_it(full: Command, target: Command) -> None:
    file = str(full.data / "backup")
    full.here("backup", file)
    (full.data / "treescale.db").rename(full.data / "elsewhere")
    found = target.run("restore", file, "--keep-identity", "--data", str(target.data))
    assert found.exit_code == 0, found.output
    assert "See that no server uses the old database" in found.stderr
    assert "What was deleted or revoked in those" in found.stderr
    assert target.database(lambda database: database.settings.get(COLLECTION_SETTING)) == "frozen"


def test_a_move_that_would_lose_something_is_refused(full: Command, target: Command) -> None:
    file = str(full.data / "backup")
    full.here("backup", file)
    full.here("cluster", "set", "undelete=3d")
    assert "make another backup" in refusal(target, "restore", file, "--keep-identity")
    assert not (target.data / "treescale.db").exists()
    assert (full.data / "treescale.db").exists()


def refusal(command: Command, *words: str) -> str:
    """Return the last line of a command that must fail, with no traceback."""
    result = command.run(*words, "--data", str(command.data))
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert lines[-1].startswith("error: ")
    return lines[-1]


def test_what_is_there_is_not_written_over(full: Command, target: Command) -> None:
    file = full.data / "backup"
    full.here("backup", str(file))
    before = file.read_bytes()
    assert "--overwrite" in full.refused("backup", str(file))
    assert file.read_bytes() == before
    full.here("backup", str(file), "--overwrite")
    target.here("restore", str(file))
    assert "is not empty" in refusal(target, "restore", str(file))
    assert "is not empty" in refusal(full, "restore", str(file))


def test_passphrases(
    full: Command, target: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "Scrypt", quick_scrypt)
    file, secret, other = (str(tmp_path / name) for name in ("backup", "secret", "other"))
    Path(secret).write_text(PASSPHRASE)
    Path(other).write_text("guess\n")
    full.here("backup", file, "--passphrase-file", secret)
    assert "say --passphrase-file FILE" in refusal(target, "restore", file)
    assert "wrong" in refusal(target, "restore", file, "--passphrase-file", other)
    assert list(target.data.iterdir()) == []
    Path(other).write_text("")
    assert "empty" in full.refused("backup", file + "2", "--passphrase-file", other)
    assert "No such file" in full.refused("backup", file + "2", "--passphrase-file", "/absent")
    Path(other).write_text("x" * 70_000)
    assert "more than" in full.refused("backup", file + "2", "--passphrase-file", other)
    assert not Path(file + "2").exists()
    Path(other).write_text(PASSPHRASE.replace("\n", "\r\n"))
    target.here("restore", file, "--passphrase-file", other)


def test_what_is_no_backup_is_told(full: Command, target: Command, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    assert "No such file" in refusal(target, "restore", str(file))
    assert "Is a directory" in refusal(target, "restore", str(tmp_path))
    file.write_text("something else")
    assert "no backup of TreeScale" in refusal(target, "restore", str(file))
    file.unlink()
    full.here("backup", str(file))
    file.write_bytes(file.read_bytes()[:-50])
    assert "nothing was restored" in refusal(target, "restore", str(file))
    assert list(target.data.iterdir()) == []


def test_without_a_database_there_is_nothing_to_back_up(target: Command) -> None:
    assert "there is no database" in target.refused("backup", str(target.data / "backup"))
    assert list(target.data.iterdir()) == []


def test_what_the_disk_did_not_keep_is_no_backup(
    full: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rotten(*_: object) -> None:
        raise BackupInvalid

    monkeypatch.setattr("treescale.cli.backup.backup.read_back", rotten)
    assert "look after it" in full.refused("backup", str(full.data / "backup"))
    assert not list(full.data.glob("backup*"))


@pytest.mark.long  # starts programs
def test_a_pipe(full: Command, target: Command) -> None:
    """The stream alone is on standard output."""
    made = subprocess.run(
        [*RUN, "backup", "-", "--json", "--data", full.data],
        capture_output=True,
        check=True,
        timeout=SECONDS_MAX,
    )
    assert json.loads(made.stderr)["bytes"] == len(made.stdout)
    restored = subprocess.run(
        [*RUN, "restore", "-", "--data", target.data],
        input=made.stdout,
        capture_output=True,
        check=True,
        timeout=SECONDS_MAX,
    )
    assert b"Restored" in restored.stdout
    assert users(target) == users(full)


@pytest.mark.long  # starts programs
def test_a_backup_that_is_killed_leaves_none(full: Command, tmp_path: Path) -> None:
    """While it derives its keys, which takes a while: the file is there, and not under its name."""
    file, secret = tmp_path / "backup", tmp_path / "secret"
    secret.write_text(PASSPHRASE)
    file.write_bytes(b"TreeScale backup before")
    flags = ["--overwrite", "--passphrase-file", str(secret), "--data", str(full.data)]
    program = subprocess.Popen([*RUN, "backup", str(file), *flags])
    wait_for(tmp_path / "backup.part")
    program.kill()
    program.wait(SECONDS_MAX)
    assert file.read_bytes() == b"TreeScale backup before"
    full.here("backup", str(file), "--overwrite")
    assert not (tmp_path / "backup.part").exists()
    assert file.read_bytes().startswith(b"TreeScale backup")


@pytest.mark.long  # starts programs
def test_a_restore_that_is_killed_leaves_nothing(full: Command, target: Command) -> None:
    """It has nearly all of the backup, and waits for the rest."""

    async def more(database: Database) -> None:
        for _ in range(50):
            await database.settings.put(secrets.token_hex(9), secrets.token_hex(9_000))

    full.database(more)
    file = full.data / "backup"
    full.here("backup", str(file))
    data = file.read_bytes()
    program = subprocess.Popen([*RUN, "restore", "-", "--data", target.data], stdin=subprocess.PIPE)
    assert program.stdin is not None
    assert len(data) > 2 * PIPE_BYTES
    program.stdin.write(data[:-1000])
    program.stdin.flush()
    wait_for(target.data / "treescale.db.restoring")
    program.kill()
    program.stdin.close()
    program.wait(SECONDS_MAX)
    assert not (target.data / "treescale.db").exists()
    target.here("restore", str(file))
    assert users(target) == users(full)
    assert {path.name for path in target.data.iterdir()} == {"treescale.db"}


def wait_for(path: Path) -> None:
    until = time.monotonic() + SECONDS_MAX
    while not path.exists():
        assert time.monotonic() < until, f"{path} did not come"
        time.sleep(0.002)


@pytest.mark.functional
def test_what_root_restores_is_of_whoever_has_the_directory(full: Command, target: Command) -> None:
    full.here("backup", str(full.data / "backup"))
    os.chown(target.data, 1234, 1234)
    target.here("restore", str(full.data / "backup"))
    found = (target.data / "treescale.db").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (1234, 1234, 0o600)


@pytest.mark.functional
def test_a_full_disk(full: Command, tmp_path: Path) -> None:
    """Of a backup and of a restore: told in one line, and nothing half is left."""
    small = tmp_path / "small"
    small.mkdir()
    file = tmp_path / "backup"
    full.here("backup", str(file))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", small], check=True)
    try:
        assert "full" in refusal(Command(small), "restore", str(file))
        assert os.listdir(small) == []  # noqa: PTH208  names alone
        (small / "ballast").write_bytes(bytes(65_536))
        assert "No space left on device" in full.refused("backup", str(small / "backup"))
        assert os.listdir(small) == ["ballast"]  # noqa: PTH208  names alone
    finally:
        subprocess.run(["umount", small], check=True)


def noted(command: Command) -> LastBackup | None:
    return command.database(last_backup)


def test_a_directory_keeps_as_many_days_as_are_asked_for(full: Command, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    first = full.json("backup", str(kept), "--keep", "2")
    assert first["removed"] == []
    path = Path(first["file"])
    assert re.fullmatch(r"treescale-\d{8}T\d{6}Z-[0-9a-f]{8}\.backup", path.name)
    assert (path.parent, path.stat().st_mode & 0o777) == (kept, 0o600)
    end = path.name.rpartition("-")[2]
    older = [f"treescale-2026010{day}T020000Z-{end}" for day in (1, 2, 3)]
    for name in older:
        (kept / name).write_bytes(path.read_bytes())
    path.unlink()
    second = full.json("backup", str(kept), "--keep", "2")
    assert second["removed"] == older[:2]
    assert {each.name for each in kept.iterdir()} == {older[2], Path(second["file"]).name}
    found = noted(full)
    assert found is not None
    assert (found.file, found.bytes) == (second["file"], second["bytes"])


def test_a_backup_that_failed_pushes_none_out(
    full: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is it noted; what a killed one left behind is begun anew by the next."""
    kept = tmp_path / "kept"
    kept.mkdir()
    good = Path(full.json("backup", str(kept), "--keep", "1")["file"])
    end = good.name.rpartition("-")[2]
    old = good.rename(kept / f"treescale-20260101T020000Z-{end}")
    before = noted(full)
    (kept / f"treescale-{end.removesuffix('.backup')}.part").write_bytes(b"half")

    def rotten(*_: object) -> None:
        raise BackupInvalid

    with monkeypatch.context() as patch:
        patch.setattr("treescale.cli.backup.backup.read_back", rotten)
        assert "look after it" in full.refused("backup", str(kept), "--keep", "1")
    assert list(kept.iterdir()) == [old]
    assert noted(full) == before
    full.here("backup", str(kept), "--keep", "1")
    assert len(list(kept.iterdir())) == 1
    assert not old.exists()


def test_keep_wants_a_directory(full: Command, tmp_path: Path) -> None:
    assert "--keep DAYS" in full.refused("backup", str(tmp_path))
    assert "there is no directory" in full.refused("backup", str(tmp_path / "no"), "--keep", "3")
    for words in (("-", "--keep", "3"), (str(tmp_path), "--keep", "3", "--overwrite")):
        assert full.run("backup", *words, "--data", str(full.data)).exit_code == 2


def test_who_made_the_last_one_when_is_noted(command: Command, target: Command) -> None:
    """In the database that was backed up: one that is restored from it has no backup of its own."""
    file = command.data / "backup"
    command.here("backup", str(file))
    made = command.json("backup", str(file), "--overwrite")
    found = noted(command)
    assert found is not None
    assert (found.file, found.bytes, found.encrypted) == (str(file), made["bytes"], False)
    assert found.actor == cli_actor()
    status = command.json("cluster", "status")
    told = (status["backup_taken"], status["backup_bytes"], status["backup_by"])
    assert told == (made["taken"], made["bytes"], found.actor)
    target.here("restore", str(file))
    assert noted(target) is None
    assert target.json("cluster", "status")["backup_taken"] is None


def test_a_pipe_is_not_noted(full: Command) -> None:
    """Nobody has read back what went through it."""
    subprocess.run(
        [*RUN, "backup", "-", "--data", full.data],
        capture_output=True,
        check=True,
        timeout=SECONDS_MAX,
    )
    assert noted(full) is None


def test_a_backup_is_good_though_the_database_cannot_be_told(
    full: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise DatabaseUnavailable("it is read-only")

    monkeypatch.setattr("treescale.cli.backup.backup.note_backup", away)
    found = full.run("backup", str(full.data / "backup"), "--data", str(full.data))
    assert found.exit_code == 0
    assert "The backup is good, but the database could not be told" in found.stderr
    assert (full.data / "backup").exists()

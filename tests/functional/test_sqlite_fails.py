"""SQLite's file is unlinked, replaced, damaged or cut while its server is used, and restored.

`docs/reliability.md` has what was measured; each run shows its own.
"""

import os
import secrets
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http import HTTPStatus
from pathlib import Path
from threading import Thread
from typing import Final

import pytest

from tests.functional.cluster.altered import altered
from tests.functional.cluster.load import EMPTY, REPOSITORY, Load, manifest_of
from tests.functional.cluster.record import CLOCK, PUSHES
from tests.functional.conftest import Measured, Serve
from tests.functional.pages import blocks
from tests.functional.programs import children_of, wait_until
from tests.functional.server import TREESCALE, Account, Options, Server
from tests.functional.wire import Unavailable, Wire
from tests.images import noise, sha256_of

pytestmark = pytest.mark.early

PAGE: Final = 4096
FAULT_SECONDS: Final = 6.0
NOTICED_SECONDS_MAX: Final = 15.0
BLOB_BYTES: Final = 200_000


class Logins(Load):
    """One pushes, one pulls what was pulled before, one logs in."""

    def __init__(self, server: Server, account: Account) -> None:
        super().__init__([server], account, pushers=1, pullers=1, blob_bytes=BLOB_BYTES, known=True)
        self.noticed = 0.0
        self._threads.append(
            Thread(target=self._again, args=(self._log_in, 0, self._pause_seconds))
        )

    def _log_in(self, wires: list[Wire]) -> None:
        path = f"/token?service=treescale&scope=repository:{REPOSITORY}:pull"
        self._attempt("login", lambda: wires[0].with_basic("GET", path).expect(200))
        self._ended.wait(0.1)


def file_of(server: Server) -> Path:
    """Return the database."""
    return server.disks[0] / "treescale.db"


def names_in(server: Server) -> set[str]:
    """Return what lies beside the database."""
    return {path.name for path in server.disks[0].iterdir()}


def readiness(server: Server, query: str = "") -> tuple[int, set[str]]:
    """Return the status of `/readyz`, and the names of the checks that fail."""
    headers = {"Accept": "application/json"}
    answer = Wire(server).request("GET", f"/readyz{query}", None, headers)
    return answer.status, {each["name"] for each in answer.json()["checks"] if not each["ok"]}


@contextmanager
def stopped(server: Server) -> Iterator[None]:
    """Have none of its processes move for the time of a block."""
    processes = [server.program.pid, *children_of(server.program.pid)]
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in processes:
            os.kill(pid, signal.SIGCONT)


def checkpoint(file: Path, how: str = "PASSIVE") -> None:
    """Have what was written in the file itself, so that its pages are read."""
    with closing(sqlite3.connect(file, timeout=20)) as connection:
        busy, *_ = connection.execute(f"PRAGMA wal_checkpoint({how})").fetchone()
        assert not busy


def complaints(server: Server) -> list[str]:
    """Return the lines of its log that none should have.

    What a server does by itself fails meanwhile, and that is told with a traceback.
    """
    bad = ("Traceback", '"status":500', '"level":"error"', "request.failed", "worker.died")
    return [
        line
        for line in server.log.read_text().splitlines()
        if any(each in line for each in bad)
        and not ('"event":"background.failed"' in line and "errors.DatabaseUnavailable: " in line)
    ]


def unlink(file: Path) -> None:
    """Take the file's name away."""
    file.unlink()


def replace(file: Path) -> None:
    """Put a copy of it in its place."""
    copy = file.with_name("copy")
    shutil.copyfile(file, copy)
    copy.replace(file)


def damage(file: Path) -> None:
    """Overwrite half of its pages, in the middle."""
    pages = file.stat().st_size // PAGE
    with file.open("r+b") as opened:
        opened.seek(pages // 4 * PAGE)
        opened.write(secrets.token_bytes((pages - pages // 2) * PAGE))


def empty(file: Path) -> None:
    """Leave no byte in it."""
    os.truncate(file, 0)


def halve(file: Path) -> None:
    """Leave half of it."""
    os.truncate(file, file.stat().st_size // PAGE // 2 * PAGE)


def mend(file: Path, sound: bytes, hurt: bytes) -> None:
    """Write back the pages that are as the fault left them: SQLite may have written others."""
    with file.open("r+b") as opened:
        now = opened.read()
        for start in range(0, len(sound), PAGE):
            page, left = now[start : start + PAGE], hurt[start : start + PAGE]
            if page in {left, b""} or not any(page):
                opened.seek(start)
                opened.write(sound[start : start + PAGE])


def endure(server: Server, load: Logins, fault: Callable[[Path], None]) -> tuple[bytes, bytes]:
    """Have the fault for a while; return the file's bytes before and after it."""
    file = file_of(server)
    checkpoint(file)
    beside = names_in(server)
    with stopped(server):
        sound = file.read_bytes()
        fault(file)
        hurt = file.read_bytes() if file.exists() else b""
    made = names_in(server)
    with load.fault() as began:
        wait_until(
            "it is not ready",
            lambda: readiness(server)[0] == HTTPStatus.SERVICE_UNAVAILABLE,
            seconds=NOTICED_SECONDS_MAX,
        )
        noticed = CLOCK.now()
        until = time.monotonic() + FAULT_SECONDS
        while time.monotonic() < until:
            status, failing = readiness(server)
            assert status == HTTPStatus.SERVICE_UNAVAILABLE
            assert "database_write" in failing
            assert readiness(server, "?for=pull") == (HTTPStatus.OK, set())
            load.lasts(0.3)
    load.noticed = noticed - began
    assert names_in(server) == made, "a file was made or taken away"
    assert made <= beside
    during = load.of(PUSHES, since=noticed, until=load.ended)
    assert during
    assert all(sent.refused for sent in during), "a push was acknowledged"
    with pytest.raises(Unavailable):
        Wire(server, server.admin_account).push_blob(REPOSITORY, noise(3000))
    return sound, hurt


def check_requests(load: Logins) -> None:
    """Nothing failed but pushes, and these in proper form."""
    assert load.broken == []
    others = PUSHES | {"new pull", "new manifest pull"}
    assert [sent for sent in load.failures if sent.kind not in others] == []
    asked = {sent.kind for sent in load.sent if load.began < sent.at < load.ended}
    assert {"pull", "manifest pull", "login"} <= asked


def test_a_file_that_is_unlinked_and_put_back(serve: Serve, measured: Measured) -> None:
    """The server goes on by itself when the same file is back."""
    server = serve(Options(workers=2))
    file, kept = file_of(server), server.home / "kept"
    os.link(file, kept)
    with Logins(server, server.admin_account) as load:
        load.lasts(1)
        endure(server, load, unlink)
        assert not file.exists()
        kept.rename(file)
        ended = CLOCK.now()
        wait_until("it is ready", server.is_ready, seconds=NOTICED_SECONDS_MAX)
        back = CLOCK.now() - ended
        load.lasts(2)
    lost = load.unreadable([server])
    assert load.of(PUSHES, since=load.ended + back)
    measured(load.row("SQLite's file unlinked", lost=lost, noticed=[load.noticed], back=[back]))
    check_requests(load)
    assert lost == []
    assert not any(sent.failure for sent in load.of(PUSHES, since=load.ended + back + 0.5))
    assert complaints(server) == []
    server.crash()
    server.start()
    assert load.unreadable([server]) == []


def test_a_file_that_is_replaced_by_a_copy(serve: Serve, measured: Measured) -> None:
    """Nothing is written to either; the old one, put back, has all that was acknowledged."""
    server = serve(Options(workers=2))
    file, kept = file_of(server), server.home / "kept"
    os.link(file, kept)
    with Logins(server, server.admin_account) as load:
        load.lasts(1)
        copied, _ = endure(server, load, replace)
    assert file.read_bytes() == copied
    assert server.stop() == 0
    assert file.read_bytes() == copied
    kept.replace(file)
    server.start()
    lost = load.unreadable([server])
    measured(load.row("SQLite's file replaced", lost=lost, noticed=[load.noticed]))
    check_requests(load)
    assert lost == []
    assert complaints(server) == []


@pytest.mark.parametrize("fault", [damage, empty, halve])
def test_a_file_that_is_damaged_or_cut(
    serve: Serve, measured: Measured, fault: Callable[[Path], None]
) -> None:
    """Nothing is written any more; mended, it has all that was acknowledged."""
    server = serve(Options(workers=2))
    with Logins(server, server.admin_account) as load:
        load.lasts(1)
        sound, hurt = endure(server, load, fault)
    server.crash()
    mend(file_of(server), sound, hurt)
    server.start()
    lost = load.unreadable([server])
    measured(load.row(f"SQLite's file: {fault.__name__}", lost=lost, noticed=[load.noticed]))
    check_requests(load)
    assert lost == []
    assert complaints(server) == []


def test_what_one_worker_knows_every_worker_answers_with(serve: Serve) -> None:
    """Whichever of them a pull comes to: each request has a connection of its own."""
    server = serve(Options(workers=3))
    wire, data = Wire(server, server.admin_account), noise(BLOB_BYTES)
    digest = wire.push_blob(REPOSITORY, data)
    empty_digest = wire.push_blob(REPOSITORY, EMPTY)
    wire.push_manifest(REPOSITORY, "1", manifest_of(digest, len(data), "known"))
    file_of(server).rename(server.home / "kept")
    wait_until("it is not ready", lambda: readiness(server)[0] == HTTPStatus.SERVICE_UNAVAILABLE)
    for _ in range(30):
        assert wire.pull_blob(REPOSITORY, digest) == data
        assert wire.pull_blob(REPOSITORY, empty_digest) == EMPTY
        wire.request("GET", f"/v2/{REPOSITORY}/manifests/1").expect(200)
    server.crash()


def test_without_a_look_at_the_file_pushes_are_acknowledged_and_gone(serve: Serve) -> None:
    """The control: SQLite writes on to a file that has no name."""
    server = serve(Options(workers=2, launcher=altered("look-at-no-file")))
    file, kept = file_of(server), server.home / "kept"
    with closing(sqlite3.connect(file)) as from_, closing(sqlite3.connect(kept)) as to:
        from_.backup(to)
    with stopped(server):
        for name in ("treescale.db", "treescale.db-wal", "treescale.db-shm"):
            file.with_name(name).unlink()
    blob = noise(300_007)
    Wire(server, server.admin_account).push_blob(REPOSITORY, blob)
    server.stop()
    kept.rename(file)
    server.start()
    path = f"/v2/{REPOSITORY}/blobs/{sha256_of(blob)}"
    answer = Wire(server, server.admin_account).request("GET", path)
    assert answer.status == HTTPStatus.NOT_FOUND


def run_as_documented(commands: str, server: Server, backup: Path) -> None:
    """Type them."""
    words = commands.replace("DIR", str(server.disks[0])).replace("BACKUP", str(backup))
    words = words.replace("treescale ", f"{TREESCALE} ")
    subprocess.run(["sh", "-e", "-u", "-c", words], check=True, timeout=60)


def test_a_backup_is_made_and_restored_as_documented(serve: Serve, tmp_path: Path) -> None:
    """Under traffic, and restored after a kill; the old data directory has its chunks."""
    backup, restore, look, *_ = blocks("Backup and restore")
    server, saved = serve(Options(workers=2)), tmp_path / "saved"
    user = server.add_user("alice")
    robot = server.add_token(user, "--allow", "pull,push")
    with Logins(server, server.admin_account) as load:
        load.lasts(1)
        blobs, tags = [*load.acknowledged.blobs], {**load.acknowledged.tags}
        run_as_documented(backup, server, saved)
        load.lasts(1)
    assert load.failures == []
    store, before = server.status()["stores"][0]["store"], bearer(server)
    server.crash()
    assert file_of(server).with_name("treescale.db-wal").stat().st_size
    run_as_documented(restore, server, saved)
    server.start()
    load.acknowledged.blobs[:] = blobs
    load.acknowledged.tags.clear()
    load.acknowledged.tags.update(tags)
    assert load.unreadable([server]) == []
    assert [each["store"] for each in server.status()["stores"]] == [store]
    assert is_accepted(server, bearer(server))
    assert not is_accepted(server, before), "a token of the other database is good here"
    Wire(server, robot).push_blob("alice/app", noise(100_003))
    code, said = server.outcome("cluster", "set", "collection=on")
    assert code == 1
    assert "collect --after-restore" in said
    run_as_documented(look, server, saved)
    assert "frozen" not in server.admin("cluster", "set", "collection=on")
    with closing(sqlite3.connect(file_of(server))) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert complaints(server) == []


def bearer(server: Server) -> str:
    """Return a token for what was pushed."""
    path = f"/token?service=treescale&scope=repository:{REPOSITORY}:pull"
    answer = Wire(server, server.admin_account).with_basic("GET", path).expect(200)
    return str(answer.json()["token"])


def is_accepted(server: Server, token: str) -> bool:
    """Say whether the token opens what it is for."""
    headers = {"Authorization": f"Bearer {token}"}
    answer = Wire(server).request("GET", f"/v2/{REPOSITORY}/tags/list", None, headers)
    assert answer.status in (HTTPStatus.OK, HTTPStatus.UNAUTHORIZED)
    return answer.status == HTTPStatus.OK


def test_a_log_that_was_left_beside_a_restored_file_is_refused(
    serve: Serve, tmp_path: Path
) -> None:
    """By SQLite's own means, but for the line that was forgotten; what is advised then works."""
    backup, restore = (
        each.replace("BACKUP.db", "BACKUP") for each in blocks("Backup and restore")[3:]
    )
    remove, copy = restore.strip().splitlines()
    server, saved = serve(Options(workers=2)), tmp_path / "saved.db"
    file, log = file_of(server), file_of(server).with_name("treescale.db-wal")
    wire, first = Wire(server, server.admin_account), noise(100_005)
    wire.push_blob(REPOSITORY, first)
    run_as_documented(backup, server, saved)
    wire.push_blob(REPOSITORY, EMPTY)
    large = manifest_of(sha256_of(first), len(first), "x" * 1_000_000)
    wire.push_manifest(REPOSITORY, "large", large)  # the file grows by it
    checkpoint(file, "TRUNCATE")
    wire.push_blob(REPOSITORY, noise(100_006))
    server.crash()
    later = log.read_bytes()
    assert later
    run_as_documented(copy, server, saved)
    done = subprocess.run(
        server.program.argv, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "After a restore remove the log" in done.stderr
    assert str(log) in done.stderr
    assert log.read_bytes() == later
    assert file.read_bytes() == saved.read_bytes()
    run_as_documented(f"{remove}\n{copy}", server, saved)
    server.start()
    assert wire.pull_blob(REPOSITORY, sha256_of(first)) == first

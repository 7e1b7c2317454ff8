"""One server whose disk with the SQLite file hangs: what only reads goes on, and it still ends."""

import http.client
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.crash.places import MIB, Mounts, make_ext4
from tests.functional.programs import Program, wait_until, workers_of
from tests.functional.server import Options, Server
from tests.functional.wire import Unavailable, Wire
from tests.images import noise, sha256_of
from treescale.metadata.engine.sqlite import READERS_MAX

ANSWER_SECONDS_MAX = 2.0
REFUSED_SECONDS_MAX = 15.0
END_SECONDS_MAX = 20.0


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Path]:
    mounts = Mounts(tmp_path / "mounts")
    yield mounts.ext4(make_ext4(tmp_path / "image", 1024 * MIB), "sick", "commit=5")
    mounts.unmount_all()


@pytest.fixture
def server(tmp_path: Path, mount: Path) -> Iterator[Server]:
    """Return one whose first disk, with the database, is the mounted one."""
    with serving(tmp_path / "server", mount / "data", tmp_path / "good") as server:
        yield server


@contextmanager
def serving(home: Path, *disks: Path) -> Iterator[Server]:
    server = Server(home, Options(disks=len(disks)))
    server.disks = [*disks]
    server.program = Program(*server._words(), log=server.log, env=server._environment())
    server.start()
    try:
        yield server
    finally:
        server.crash()


@contextmanager
def frozen(mount: Path) -> Iterator[None]:
    subprocess.run(["fsfreeze", "-f", str(mount)], check=True)
    try:
        yield
    finally:
        subprocess.run(["fsfreeze", "-u", str(mount)], check=True)


@pytest.mark.alone
def test_with_the_databases_disk_frozen_what_reads_goes_on(server: Server, mount: Path) -> None:
    token = server.add_token(server.admin_account)
    server.admin("cluster", "set", "copies=2")
    wait_until("all put two copies", lambda: followers(server, copies=2) == 3)
    wire = Wire(server, token)
    blobs = [noise(100_000 + number) for number in range(10)]
    for blob in blobs:
        wire.push_blob("admin/app", blob)
    server.stop()
    server.start()  # nothing is remembered
    # What a worker has not opened yet, it cannot open on a disk that hangs.
    everything = READERS_MAX + 2  # one looks for commits, one writes
    wait_until("all workers have opened the database", lambda: min(opened(server)) >= everything)
    fast: list[float] = []
    slow: list[float] = []

    def push() -> None:
        begun = time.monotonic()
        with pytest.raises(Unavailable):
            Wire(server, token).push_blob("admin/app", noise(300_000))
        slow.append(time.monotonic() - begun)

    with frozen(mount):
        pushes = [threading.Thread(target=push) for _ in range(8)]
        for thread in pushes:
            thread.start()
        for number in range(60):
            begun = time.monotonic()
            assert Wire(server).request("GET", "/healthz").status == 200
            blob = blobs[number % len(blobs)]
            again = Wire(server, token)  # logs in anew
            assert again.pull_blob("admin/app", sha256_of(blob)) == blob
            fast.append((time.monotonic() - begun) / 3)
        for thread in pushes:
            thread.join(60)
    assert sorted(fast)[-2] < ANSWER_SECONDS_MAX
    assert len(slow) == len(pushes)
    assert max(slow) < REFUSED_SECONDS_MAX
    wait_until("pushes are taken again", lambda: pushed(server, token), seconds=20)


def opened(server: Server) -> list[int]:
    """Return how often each worker has the database's file open."""
    return [
        sum(name(file) == "treescale.db" for file in Path(f"/proc/{pid}/fd").iterdir())
        for pid in workers_of(server.program.pid)
    ]


def name(file: Path) -> str:
    """Return the name of an open file, "" of one that was closed meanwhile."""
    try:
        return file.readlink().name
    except FileNotFoundError:
        return ""


def followers(server: Server, *, copies: int) -> int:
    """Return how many processes follow a layout of so many copies: two workers and the walk."""
    followed = '"event":"layout.followed"', f'"copies":{copies}'
    return sum(all(x in line for x in followed) for line in server.log.read_text().splitlines())


def pushed(server: Server, account: object) -> bool:
    try:
        Wire(server, account).push_blob("admin/app", noise(100_000))  # type: ignore[arg-type]
    except Unavailable:
        return False
    return True


def test_workers_killed_while_a_disk_hangs_are_replaced_and_the_server_is_led(
    tmp_path: Path, mount: Path
) -> None:
    """The kernel ends no thread that waits for a disk: nobody would hear of a worker's end."""
    with serving(tmp_path / "server", tmp_path / "good", mount / "data") as server:
        account = server.add_token(server.admin_account)
        workers = workers_of(server.program.pid)
        with frozen(mount):
            pushes = [
                threading.Thread(target=lambda: any_end(server, account), daemon=True)
                for _ in range(16)
            ]
            for thread in pushes:
                thread.start()
            time.sleep(3)
            for pid in workers:
                server.kill_worker(pid)
            wait_until("all are replaced", lambda: len(others(server, workers)) == len(workers))
            wait_until("it serves", lambda: any_end(server, account), seconds=30)
            wait_until("it is led", lambda: "does not answer" in trouble(server), seconds=40)
        for thread in pushes:
            thread.join(30)
        wait_until("pushes are taken again", lambda: pushed(server, account), seconds=20)
        wait_until("it is told", lambda: '"event":"worker.hung"' in server.log.read_text())


def others(server: Server, workers: list[int]) -> set[int]:
    return set(workers_of(server.program.pid)) - set(workers)


def any_end(server: Server, account: object) -> bool:
    """Say whether a push is taken; it may go to a disk that hangs, or to what ends meanwhile."""
    try:
        Wire(server, account).push_blob("admin/app", os.urandom(100_000))  # type: ignore[arg-type]
    except (OSError, Unavailable, http.client.HTTPException):
        return False
    return True


def trouble(server: Server) -> str:
    """Return what the leading worker's heartbeat says of the second disk."""
    (store,) = [one for one in server.status()["stores"] if one["path"] == str(server.disks[1])]
    return str(store["trouble"] or "")


def test_a_server_whose_disk_hangs_ends_when_it_is_told_to(server: Server, mount: Path) -> None:
    account = server.add_token(server.admin_account)
    with frozen(mount):
        pushes = [
            threading.Thread(target=lambda: any_end(server, account), daemon=True) for _ in range(8)
        ]
        for thread in pushes:
            thread.start()
        time.sleep(3)
        os.kill(server.program.pid, signal.SIGTERM)
        # Its workers are left behind: the kernel ends them when the disk is back.
        process = server.program._process
        assert process is not None
        assert process.wait(END_SECONDS_MAX) == 0
    for thread in pushes:
        thread.join(30)

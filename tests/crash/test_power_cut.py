"""The power cut at random moments under load: what was acknowledged is durable (T52, T54, T56).

The server lies on an ext4 that commits by itself only every 300 seconds, over an image in memory.
All its processes are stopped, the image is copied as it is, the copy mounted (the journal is
replayed, as at a reboot), and a fresh server started on it. The image holds what was synced, and
whatever else the kernel happened to write back. POWER_CUTS says how many; 200 take ten minutes.
"""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from tests.crash.conftest import Counted
from tests.crash.hurt import Forgets, Hurt
from tests.crash.inside import check_database, check_files
from tests.crash.load import Load, Push, check_pushes, push_image
from tests.crash.nursery import PASSWORD, Home, Nursery
from tests.crash.operations import DEATHS, LAYER, REPOSITORY
from tests.crash.places import MIB, Mounts, copy_image, make_ext4
from tests.crash.worker import ADDRESS
from tests.functional.programs import children_of, run, wait_until
from tests.functional.server import ADMIN_PASSWORD, Account, Options, Server
from tests.functional.wire import Wire
from tests.images import sha256_of

pytestmark = pytest.mark.early

CUTS = int(os.environ.get("POWER_CUTS", "12"))
CUTS_PER_IMAGE = 12
SEED = os.environ.get("POWER_CUT_SEED", "1")
IMAGE_BYTES = 1024 * MIB
CLIENTS = 3


class Machine:
    """A machine whose disk is an image in memory, and that loses its power."""

    def __init__(self, mounts: Mounts) -> None:
        self.mounts = mounts
        self.memory = mounts.memory("memory", 4096 * MIB)
        self.image = make_ext4(self.memory / "disk.img", IMAGE_BYTES)

    def boot(self, name: str) -> Path:
        """Mount the disk and return where."""
        return self.mounts.ext4(self.image, name)

    @contextmanager
    def after_cut(self, pids: list[int]) -> Iterator[Path]:
        """Cut the power, with all `pids` stopped; return the disk as after the reboot."""
        wait_until("all are stopped", lambda: all(stopped(pid) for pid in pids))
        crashed = copy_image(self.image, self.memory / "crash.img")
        place = self.mounts.ext4(crashed, "crashed")
        yield place
        self.mounts.unmount(place)
        crashed.unlink()


def stopped(pid: int) -> bool:
    """Return whether every thread of a process is stopped, and none in a call of the disk."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return all((t / "stat").read_text().rpartition(")")[2].split()[0] == "T" for t in tasks)


@pytest.fixture
def machine(mounts: Mounts) -> Machine:
    """Return a machine with an empty disk."""
    return Machine(mounts)


def wire_to(nursery: Nursery) -> Wire:
    return Wire(nursery, Account("admin", PASSWORD))


def check_survivor(nursery: Nursery, home: Home, pushes: list[Push]) -> None:
    """Start a fresh server on what a power cut left, and look at everything acknowledged."""
    check_files(home)
    nursery.start(home)
    try:
        check_pushes(wire_to(nursery), pushes)
    finally:
        nursery.end()
    check_files(home)
    check_database(home)


def test_pushes_acknowledged_before_a_power_cut_are_there(
    tmp_path: Path, nursery: Nursery, counted: Counted
) -> None:
    checked = 0
    for begun in range(0, CUTS, CUTS_PER_IMAGE):
        place = tmp_path / f"round{begun}"
        machine = Machine(Mounts(place))
        try:
            cuts = range(begun, min(CUTS, begun + CUTS_PER_IMAGE))
            checked += cut_under_load(machine, place, nursery, cuts)
        finally:
            machine.mounts.unmount_all()
            shutil.rmtree(place)
    assert checked > CUTS
    counted(f"power cuts: {CUTS} (seed {SEED}); acknowledged pushes read back: {checked}; lost: 0")


def cut_under_load(machine: Machine, place: Path, nursery: Nursery, cuts: range) -> int:
    """Run a server under load, cut its power again and again; return how many pushes were read."""
    machine.boot("home/disk0")
    server = Server(place / "home", Options(advertise=ADDRESS)).start()
    load = Load(server, Account("admin", ADMIN_PASSWORD), CLIENTS)
    checked = 0
    try:
        for number in cuts:
            load.wait_for_one_more()
            time.sleep(sha256(f"{SEED} {number}".encode()).digest()[0] / 256 * 0.4)
            pushes = load.acknowledged()
            pids = [server.program.pid, *children_of(server.program.pid)]
            os.killpg(server.program.pid, signal.SIGSTOP)
            with machine.after_cut(pids) as disk:
                check_survivor(nursery, Home(disk), pushes)
            os.killpg(server.program.pid, signal.SIGCONT)
            checked += len(pushes)
        load.stop()
    finally:
        server.crash()
    return checked


def push_and_cut(
    machine: Machine, nursery: Nursery, forgets: tuple[Forgets, ...], database: Path | None
) -> None:
    """Push some images to a worker that forgets something, cut the power, and look."""
    home = Home(machine.boot("disk"), database)
    nursery.start(home)
    push_image(wire_to(nursery), "admin/first", 0)
    nursery.end()
    run("sync", "-f", home.data)
    nursery.start(home, Hurt(forgets=forgets))
    wire = wire_to(nursery)
    pushes = [push_image(wire, "admin/app", number) for number in range(6)]
    with machine.after_cut([nursery.pause()]) as disk:
        nursery.end()
        check_survivor(nursery, Home(disk, database), pushes)


def test_a_power_cut_right_after_the_answer(machine: Machine, nursery: Nursery) -> None:
    push_and_cut(machine, nursery, (), None)


@pytest.mark.parametrize(
    ("forgets", "elsewhere"),
    [(("fsync",), False), (("fsync_directory", "syncfs"), True), (("synchronous",), False)],
    ids=["files", "directories", "database"],
)
def test_without_a_sync_the_same_check_finds_losses(
    machine: Machine, nursery: Nursery, forgets: tuple[Forgets, ...], *, elsewhere: bool
) -> None:
    """The negative controls (T56).

    SQLite's own syncs commit the journal of a file system it shares, directories included: to see
    what a forgotten directory loses, the database lies elsewhere.
    """
    database = machine.memory / "elsewhere.db" if elsewhere else None
    with pytest.raises(AssertionError, match=r"lost|half-written"):
        push_and_cut(machine, nursery, forgets, database)


@pytest.mark.parametrize("forgets", [(), ("syncfs", "fsync_directory")], ids=["syncs", "forgets"])
def test_a_chunk_found_after_a_kill_is_durable_before_it_counts(
    machine: Machine, nursery: Nursery, forgets: tuple[Forgets, ...]
) -> None:
    """T54: killed between rename and sync, restarted, pushed again, acknowledged, cut."""
    database = machine.memory / "elsewhere.db"
    home = Home(machine.boot("disk"), database)
    nursery.start(home, Hurt(at=0, only=("disk.fsync_directory",)))
    with pytest.raises(DEATHS):
        wire_to(nursery).push_blob(REPOSITORY, LAYER)
    nursery.wait()
    assert check_files(home) == 1, "renamed, and not yet synced"
    nursery.start(home, Hurt(forgets=forgets))
    wire_to(nursery).push_blob(REPOSITORY, LAYER)
    with machine.after_cut([nursery.pause()]) as disk:
        nursery.end()
        nursery.start(Home(disk, database))
        answer = wire_to(nursery).request("GET", f"/v2/{REPOSITORY}/blobs/{sha256_of(LAYER)}")
        nursery.end()
    if forgets:
        assert answer.status == 503, "the negative control: the check sees a chunk that is lost"
    else:
        assert answer.expect(200).body == LAYER

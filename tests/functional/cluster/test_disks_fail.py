"""One of two disks of one of three servers hangs, is read-only or full: nobody else notices.

The disk is an ext4 of its own; it is frozen with fsfreeze, and thawed whatever happens.
"""

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pytest

from tests.crash.places import MIB, Mounts, filled, make_ext4
from tests.functional.cluster.altered import altered
from tests.functional.cluster.conftest import Measured
from tests.functional.cluster.database import NetworkPostgres
from tests.functional.cluster.load import Load
from tests.functional.cluster.network import Network
from tests.functional.cluster.nodes import Cluster, Node
from tests.functional.cluster.record import CLOCK, PULLS, Record, Sent
from tests.functional.programs import Program, wait_until
from tests.functional.wire import Wire

pytestmark = pytest.mark.early

ANSWER_SECONDS_MAX = 2.0
"""What everything that does not need the disk takes at p99 (issue 12)."""
NOTICED_SECONDS_MAX = 40.0
TAGS = "/v2/admin/app/tags/list"
DISK_BYTES = 1024 * MIB
RESERVE = 256 * MIB


class Sick:
    """Three servers; the first has a second disk that one can do things to."""

    def __init__(self, cluster: Cluster, mount: Path, mounts: Mounts) -> None:
        self.cluster = cluster
        self.node: Node = cluster.nodes[0]
        self.mount = mount
        self.mounts = mounts

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Have the disk hang when it is written to, for the time of a block."""
        subprocess.run(["fsfreeze", "-f", str(self.mount)], check=True)
        try:
            yield
        finally:
            subprocess.run(["fsfreeze", "-u", str(self.mount)], check=True)

    @contextmanager
    def read_only(self) -> Iterator[None]:
        self.mounts.remount(self.mount, "ro")
        try:
            yield
        finally:
            self.mounts.remount(self.mount, "rw")

    @contextmanager
    def full(self) -> Iterator[None]:
        with filled(self.mount, RESERVE // 2):
            yield

    def trouble(self) -> str:
        """Return what `cluster status` says of the disk, "" when it is well."""
        seen = self.cluster.nodes[1].status()
        path = str(self.node.disks[1])
        (store,) = [one for one in seen["stores"] if one["path"] == path]
        return str(store["trouble"] or "")


def give(node: Node, disk: Path) -> None:
    """Give a server that was not started yet a second disk, there."""
    node.disks = [node.disks[0], disk]
    node.program = Program(*node._words(), log=node.log, env=node._environment())


@pytest.fixture(scope="module")
def sick(
    network: Network, database_server: NetworkPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sick]:
    home = tmp_path_factory.mktemp("sick")
    mounts = Mounts(home / "mounts")
    mount = mounts.ext4(make_ext4(home / "image", DISK_BYTES), "sick", "commit=5")
    url = database_server.new_database(copies=2)
    nodes = [Node(home / f"s{n}", network.machine(), url) for n in (1, 2, 3)]
    give(nodes[0], mount / "data")
    cluster = Cluster(nodes)
    try:
        cluster.start()
        yield Sick(cluster, mount, mounts)
    finally:
        cluster.crash()
        mounts.unmount_all()


class Asking(Record):
    """Asks a server, for the time of a block, what needs no disk; every answer counts."""

    def __init__(self, node: Node, wire: Wire) -> None:
        super().__init__()
        self._node = node
        self._wire = wire
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask_on)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(60)

    def _ask_on(self) -> None:
        while not self._ended.wait(0.05):
            self._one("healthz", lambda: Wire(self._node).request("GET", "/healthz"))
            self._one("readyz", lambda: Wire(self._node).request("GET", "/readyz"))
            self._one("login", lambda: self._wire.request("GET", "/v2/"))
            self._one("tags", lambda: self._wire.request("GET", TAGS))

    def _one(self, kind: str, ask: Callable[[], object]) -> None:
        at, begun = CLOCK.now(), CLOCK.monotonic()
        failure = ""
        try:
            status = ask().status  # type: ignore[attr-defined]
            failure = "" if status == 200 else f"status {status}"
        except OSError as error:
            failure = repr(error)
        self.sent.append(Sent(kind, at, CLOCK.monotonic() - begun, failure))


@pytest.mark.parametrize(
    ("how", "words"),
    [("frozen", "does not answer writes"), ("read_only", "read-only"), ("full", "full")],
)
def test_a_sick_disk_is_noticed_by_nobody_but_the_administrator(
    sick: Sick, measured: Measured, how: str, words: str
) -> None:
    """T26, T34, and a disk that hangs."""
    cluster = sick.cluster
    cluster.wait_until_fit()
    account = cluster.account
    with Load(cluster.nodes, account) as load, Asking(sick.node, Wire(sick.node, account)) as asked:
        load.lasts()
        with getattr(sick, how)(), load.fault() as began:
            wait_until("it is in trouble", lambda: words in sick.trouble(), seconds=40)
            noticed = CLOCK.now() - began
            load.lasts_long(6, or_seconds=15)
        wait_until("it is well", lambda: sick.trouble() == "", seconds=40)
        back = CLOCK.now() - load.ended
        load.lasts()
    lost = load.unreadable(cluster.nodes)
    label = {"frozen": "disk frozen", "read_only": "disk read-only", "full": "disk full"}[how]
    measured(load.row(label, lost=lost, noticed=[noticed], back=[back]))
    measured(asked.row(f"{label}: what needs no disk", lost=[]))
    assert load.failures == []
    assert lost == []
    assert noticed < NOTICED_SECONDS_MAX
    pulls = [one.seconds for one in load.of(PULLS, since=load.began, until=load.ended)]
    assert sorted(pulls)[int(len(pulls) * 0.99)] < ANSWER_SECONDS_MAX
    assert asked.failures == []
    assert asked.slowest(99) < ANSWER_SECONDS_MAX


def test_without_a_limit_on_its_calls_a_disk_that_hangs_is_never_noticed(sick: Sick) -> None:
    cluster = sick.cluster
    with sick.node.otherwise(launcher=altered("wait-for-disks")):
        cluster.wait_until_fit()
        with sick.frozen():
            for n in range(20):
                Wire(cluster.nodes[1], cluster.account).push_blob("admin/app", b"%d" % n * 99_999)
            time.sleep(12)  # one that is noticed is silent after ten
            assert sick.trouble() == ""
            assert sick.node.events("disk.silent") == []

"""One server that is mistyped, has no room for its log, or gets no process: the others go on.

And so does that server, with what it has.
"""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import update

from tests.functional.cluster.altered import altered
from tests.functional.cluster.conftest import Measured
from tests.functional.cluster.load import REQUESTS, Load
from tests.functional.cluster.nodes import Cluster, Node
from tests.functional.cluster.record import CLOCK
from tests.functional.programs import alive, children_of, run, wait_until, workers_of
from tests.functional.server import TREESCALE
from treescale.metadata.engine.address import parse_address
from treescale.metadata.engine.connect import connect
from treescale.metadata.schema import servers

pytestmark = pytest.mark.early

MISTYPED = (
    "http://ts-2..x:5000",
    "http://10.0.0.1:99999",
    "gopher://server:5000",
    "http://ser ver\r\nHost: x:5000",
    "http://" + "x" * 5000,
    "",
)
TRIED = MISTYPED if REQUESTS else MISTYPED[::2]
"""In CI half of them: what each kind is told, tests/peer/test_address.py knows of all."""
NOTICED_SECONDS_MAX = 8.0
"""Workers read the rows every 5 s."""
NOBODY = "54321"
"""A user of whom nothing else runs: the limit on processes is the user's, and none is root's."""
AS_NOBODY = (
    *("setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"),
    *("--inh-caps", "-all,+dac_read_search", "--ambient-caps", "+dac_read_search"),
    *("--bounding-set", "-all,+dac_read_search", "--"),
)
SMALL_BYTES = 64 * 1024


async def rewrite(node: Node, server_id: str, address: str) -> None:
    """Write another address into a server's row, as another version might."""
    database = connect(parse_address(node.options.database))
    try:
        row = update(servers).where(servers.c.server_id == server_id).values(address=address)
        await database.change(row)
    finally:
        await database.close()


def told(node: Node) -> str:
    """Return what `cluster status` advises about servers."""
    return "\n".join(each["text"] for each in node.status()["advice"] if each["about"] == "server")


@contextmanager
def mistyped(node: Node, other: Node, address: str) -> Iterator[None]:
    """Have the other server's row say this for the time of a block."""
    asyncio.run(rewrite(node, other.server_id, address))
    try:
        yield
    finally:
        asyncio.run(rewrite(node, other.server_id, f"http://{other.address}"))


def test_a_mistyped_address_takes_away_that_server_alone(
    three: Cluster, measured: Measured
) -> None:
    first, second, third = three.nodes
    others, noticed = [first, second], []
    with Load(others, three.account) as load:
        load.lasts(1)
        with load.fault() as began:
            for address in TRIED:
                since = CLOCK.now()
                with mistyped(first, third, address):
                    noticed += three.noticed(third, ["down"], since=since, by=others)
                    load.lasts(1)
                    if address == TRIED[0]:
                        wait_until(
                            "status tells", lambda: "dot too many" in told(first), seconds=40
                        )
        three.wait_until_met(third, since=began)
        load.lasts(1)
    measured(
        load.row(
            f"mistyped peer, {len(TRIED)} ways",
            lost=load.unreadable(three.nodes),
            noticed=noticed,
        )
    )
    assert load.failures == []
    assert max(noticed) < NOTICED_SECONDS_MAX
    for node in three.nodes:
        assert node.events("worker.died", since=began) == []
        assert node.events("background.failed", since=began) == []
    reasons = {each["reason"] for each in first.events("peer.state", since=began)}
    assert sum("cannot work" in reason for reason in reasons) == len(TRIED), "each its own"


def test_a_server_that_is_mistyped_is_refused(three: Cluster) -> None:
    victim, *_ = three.nodes
    victim.stop()
    done = subprocess.run(
        [*victim.program.argv, "--advertise", "http://ts-2..x:5000"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    victim.start()
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "advertise (--advertise)" in done.stderr
    assert "'ts-2..x' has a dot too many" in done.stderr


@contextmanager
def no_process(node: Node) -> Iterator[None]:
    """Have no process made for this server for the time of a block."""
    supervisor, *workers = (node.program.pid, *children_of(node.program.pid))
    for pid in (supervisor, *workers):
        run(*AS_NOBODY, "prlimit", "--pid", str(pid), "--nproc=1:")
    try:
        yield
    finally:
        if node.program.pid == supervisor:
            run(*AS_NOBODY, "prlimit", "--pid", str(supervisor), "--nproc=4096:")


def test_while_no_process_can_be_made_the_server_goes_on(
    three: Cluster, measured: Measured
) -> None:
    victim, *_ = three.nodes
    run("chown", "-R", f"{NOBODY}:{NOBODY}", str(victim.home))
    with victim.otherwise(launcher=(*AS_NOBODY, str(TREESCALE)), workers=2):
        three.wait_until_whole()
        killed, left = workers_of(victim.program.pid)
        with no_process(victim):
            victim.kill_worker(killed)
            wait_until("it is told", lambda: bool(victim.events("worker.unstarted")))
            with Load(three.nodes, three.account) as load, load.fault():
                load.lasts(4)
            assert workers_of(victim.program.pid) == [left]
        ended = CLOCK.now()
        wait_until("it is replaced", lambda: len(workers_of(victim.program.pid)) == 2, seconds=12)
        back = CLOCK.now() - ended
        wait_until("it serves", lambda: bool(victim.events("worker.started")))
        lost = load.unreadable(three.nodes)
        measured(load.row("fork fails (limit on processes)", lost=lost, back=[back]))
        assert load.failures == []
        assert lost == []
        assert len(victim.events("worker.unstarted")) == 1
    run("chown", "-R", "0:0", str(victim.home))


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk with room for a few lines."""
    place = tmp_path / "small"
    place.mkdir()
    run("mount", "-t", "tmpfs", "-o", f"size={SMALL_BYTES}", "none", str(place))
    yield place
    run("umount", "-l", str(place))


def fill(small: Path) -> None:
    """Leave no byte on the disk."""
    with (small / "filler").open("wb", buffering=0) as filler:
        try:
            while filler.write(b"x" * 512):
                pass
        except OSError:
            pass
    assert os.statvfs(small).f_bavail == 0


HOW = {
    "disk full": "2>> {small}/log",
    "reader gone": "2> >(head -c 1 > /dev/null)",
    "nobody reads": "2> >(sleep 600)",
}
"""In the words of bash."""


@pytest.mark.parametrize("how", HOW)
def test_a_log_that_cannot_be_written_holds_up_nobody(
    three: Cluster, measured: Measured, small: Path, how: str
) -> None:
    victim, *others = three.nodes
    log = HOW[how].format(small=small)
    launcher = ("bash", "-c", f'exec "$0" "$@" {log}', str(TREESCALE))
    with victim.otherwise(launcher=launcher, workers=2):
        for node in others:
            wait_until("it is up", lambda: node.sees(victim) == "up")  # noqa: B023
        if how == "disk full":
            fill(small)
        with Load(three.nodes, three.account, pause_seconds=0.05) as load:
            load.lasts(1)
            with load.fault():
                # 64 KiB of a pipe are full after some 250 requests; each ping is none.
                load.lasts(5)
            if how == "disk full":
                (small / "filler").unlink()
                wait_until(
                    "it is told", lambda: '"event":"log.dropped"' in (small / "log").read_text()
                )
            load.lasts(1)
        lost = load.unreadable(three.nodes)
        measured(load.row(f"log: {how}", lost=lost))
        assert load.failures == []
        assert lost == []
        assert victim.stop() == 0


def test_without_the_runner_a_mistyped_address_ends_workers(three: Cluster) -> None:
    """The control: what section 1 of the issue was about."""
    watcher, _, third = three.nodes
    with (
        watcher.otherwise(launcher=altered("believe-everybody")),
        mistyped(watcher, third, MISTYPED[0]),
    ):
        wait_until("a worker dies", lambda: bool(watcher.events("worker.died")))


def test_with_a_log_that_raises_a_full_disk_ends_the_server(three: Cluster, small: Path) -> None:
    """The control: a line that cannot be written is an error."""
    victim, *_ = three.nodes
    words = " ".join(altered("raise-of-logs"))
    launcher = ("bash", "-c", f'exec {words} "$@" 2>>{small}/log', "-")
    with victim.otherwise(launcher=launcher):
        fill(small)
        with Load([victim], three.account, pushers=0, pullers=1) as load:
            load.lasts()  # what is left of the file's last page
        for worker in workers_of(victim.program.pid):  # unless the walk's line was the first
            victim.kill_worker(worker)
        wait_until("it has ended", lambda: not alive(victim.program.pid))
        (small / "filler").unlink()
        victim.crash()


def test_a_supervisor_that_gives_up_ends_the_server(three: Cluster) -> None:
    """The control: no process can be made, and that is an error."""
    victim, *_ = three.nodes
    run("chown", "-R", f"{NOBODY}:{NOBODY}", str(victim.home))
    launcher = (*AS_NOBODY, *altered("give-up"))
    with victim.otherwise(launcher=launcher, workers=2):
        killed, _ = workers_of(victim.program.pid)
        with no_process(victim):
            victim.kill_worker(killed)
            wait_until("it has ended", lambda: not alive(victim.program.pid))
        victim.crash()
    run("chown", "-R", "0:0", str(victim.home))

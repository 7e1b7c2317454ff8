"""`fsck`, `verify` and `repair` on real servers, and on the disks of one that is stopped."""

import json
import subprocess
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from tests import images
from tests.functional.cluster.conftest import Clusters
from tests.functional.cluster.nodes import Cluster, Node
from tests.functional.conftest import Serve
from tests.functional.programs import wait_until
from tests.functional.server import TREESCALE, Options, Server
from tests.functional.wire import Wire
from treescale.cli.main import cli

SECONDS_MAX = 60


def ask(server: Server, *words: str) -> tuple[int, dict[str, Any]]:
    """Return a command's exit status, and what it answered in JSON; in this process."""
    done = CliRunner().invoke(cli, [*words, *server._where(), "--json"])
    assert done.stdout, done.output
    return done.exit_code, json.loads(done.stdout)


def files(server: Server) -> list[Path]:
    return sorted((server.disks[0] / "chunks").glob("*/*/*"))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def push(node: Node, cluster: Cluster) -> None:
    """Push some chunks, and wait for all copies."""
    Wire(node, cluster.account).push_blob("admin/app", images.noise(12_000_000))
    wait_until("all have it", lambda: len({n.chunks() for n in cluster.nodes}) == 1, seconds=10)


def missed(victim: Node, asked: Node) -> tuple[int, dict[str, Any]]:
    """Delete three chunks and look for them; twice if the walk has passed by just between."""
    status, found = 0, {"missing": 0}
    for _ in range(2):
        if found["missing"] != 3:
            for path in files(victim)[:3]:
                path.unlink()
            status, found = ask(asked, "fsck", "--quick")
    return status, found


def test_what_was_done_to_a_running_cluster_is_found_and_healed(clusters: Clusters) -> None:
    cluster = clusters(3)
    try:
        first, second, third = cluster.nodes
        push(first, cluster)
        status, found = ask(first, "fsck")
        assert (status, found["verdict"]) == (0, "whole"), found
        assert found["held"] == found["read"] == 3 * first.chunks()
        flip(files(second)[4])
        status, found = missed(first, third)
        assert (status, found["missing"], found["rotten"]) == (3, 3, 0), found
        status, found = ask(third, "fsck")
        assert (status, found["rotten"]) == (1, 1), found
        assert [row["repositories"] for row in found["rotten_copies"]] == [["admin/app"]]
        status, did = ask(third, "verify")
        assert (status, did["missing"], did["lost"]) == (0, 0, 0), did
        status, found = ask(third, "fsck")
        assert (status, found["verdict"]) == (0, "whole"), found
        assert len({n.chunks() for n in cluster.nodes}) == 1
        second.crash()
        status, found = ask(third, "fsck", "--quick")
        assert (status, len(found["stores"])) == (0, 3), found
        assert [row["path"] for row in found["walked_here"]] == [str(second.disks[0])]
    finally:
        cluster.crash()


def test_while_no_server_runs_the_command_reads_the_disks_itself(serve: Serve) -> None:
    server = serve(Options(workers=1))
    wire = Wire(server, server.add_token(server.admin_account))
    wire.push_blob("admin/app", images.noise(8_000_000))
    assert server.stop() == 0
    done = subprocess.run(
        [TREESCALE, "fsck", *server._where()],
        capture_output=True,
        timeout=SECONDS_MAX,
        check=False,
        text=True,
    )
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "verdict\twhole"), done
    assert f"No server has {server.disks[0]}: this command walks it." in done.stderr
    gone, bad, *_ = files(server)
    kept = gone.read_bytes()
    gone.unlink()
    flip(bad)
    status, found = ask(server, "fsck")
    assert (status, found["rotten"], found["lost"]) == (1, 1, 2), found
    assert [row["repository"] for row in found["lost_blobs"]] == ["admin/app"]
    gone.write_bytes(kept)
    status, found = ask(server, "fsck", "--quick")
    assert (status, found["lost"]) == (1, 1), "one is back"

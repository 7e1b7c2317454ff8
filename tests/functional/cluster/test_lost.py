"""Layers lost on all of three servers: docker pushes them again; and what one server still has."""

from pathlib import Path

import pytest

from tests import images
from tests.functional.cluster.conftest import Clusters
from tests.functional.cluster.nodes import Cluster, Node
from tests.functional.docker import Docker
from tests.functional.programs import wait_until
from tests.functional.wire import Wire
from tests.images import Image

LAYER = images.noise_layer("lost", 12_000_000)
IMAGE = Image([images.busybox_layer(), LAYER], ["/bin/busybox", "echo", "here"])


def damage(node: Node) -> int:
    """Take all chunks of its disk away, but for one that is changed; return how many."""
    rotten, *gone = sorted((node.disks[0] / "chunks").glob("*/*/*"))
    data = bytearray(rotten.read_bytes())
    data[len(data) // 2] ^= 1
    rotten.write_bytes(data)
    for path in gone:
        path.unlink()
    return len(gone) + 1


def missed(cluster: Cluster) -> list[str]:
    """Return the chunks that a log calls lost, as often as it does."""
    return [str(each["chunk"]) for node in cluster.nodes for each in node.events("chunk.lost")]


@pytest.fixture
def three(clusters: Clusters) -> Cluster:
    return clusters(3, workers=2)


def test_docker_pushes_what_all_three_have_lost(
    three: Cluster, plain_docker: Docker, tmp_path: Path
) -> None:
    try:
        docker, names = plain_docker, [f"{node.address}/admin/app:1" for node in three.nodes]
        docker.load(IMAGE, names[0], tmp_path / "layout")
        for node in three.nodes:
            docker.login(node.address, node.admin_account)
        docker("push", names[0])
        assert all(damage(node) > 4 for node in three.nodes)
        docker.forget_images()
        pull = docker.started("pull", names[1])
        wait_until("docker cannot pull it", lambda: "Retrying" in pull.log_end(), seconds=30)
        wait_until("chunks are missed", lambda: len(missed(three)) > 4, seconds=60)
        pull.kill()
        first, _, third = three.nodes
        wait_until("it is seen", lambda: len(third.status()["lost"]) >= 2, seconds=10)
        assert {(row["repository"], *row["tags"]) for row in first.status()["lost"]} == {
            ("admin/app", "1")
        }
        docker.load(IMAGE, names[2], tmp_path / "again")
        assert "Layer already exists" not in docker("push", names[2])
        assert first.status()["lost"] == []
        for name in names:
            docker.forget_images()
            docker("pull", name)
            assert docker.run(name) == "here\n"
        assert len(set(missed(three))) == len(missed(three)), "once for each"
    finally:
        three.crash()


def test_what_a_server_that_is_down_may_have_is_not_lost(three: Cluster) -> None:
    try:
        first, second, third = three.nodes
        wire, blob = Wire(first, three.account), images.noise(3_000_000)
        digest = wire.push_blob("admin/app", blob)
        wait_until("all have it", lambda: len({n.chunks() for n in three.nodes}) == 1, seconds=10)
        third.crash()
        for node in (first, second):
            damage(node)
        connection = wire.request("GET", f"/v2/admin/app/blobs/{digest}")
        assert connection.status == 503
        assert first.status()["lost"] == []
        third.start()
        wait_until("it is met again", lambda: first.sees(third) == "up", seconds=20)
        assert wire.pull_blob("admin/app", digest) == blob
        assert first.status()["lost"] == []
    finally:
        three.crash()

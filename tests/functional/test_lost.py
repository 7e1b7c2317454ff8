"""A lost layer: docker's pull fails, docker's push sends it again, and all images are whole."""

from pathlib import Path
from typing import Any

from tests import images
from tests.functional.conftest import Serve
from tests.functional.docker import Docker
from tests.functional.programs import wait_until
from tests.functional.server import Options
from tests.images import Image

LAYER = images.noise_layer("lost", 12_000_000)
FIRST = Image([images.busybox_layer(), LAYER], ["/bin/busybox", "echo", "first"])
SECOND = Image([images.busybox_layer(), LAYER], ["/bin/busybox", "echo", "second"])


def damage(disks: list[Path]) -> int:
    """Take the chunks away but for two of which one is changed and one cut; return how many."""
    files = [path for disk in disks for path in sorted((disk / "chunks").glob("*/*/*"))]
    rotten, torn, *gone = files
    data = bytearray(rotten.read_bytes())
    data[len(data) // 2] ^= 1
    rotten.write_bytes(data)
    torn.write_bytes(torn.read_bytes()[:-1])
    for path in gone:
        path.unlink()
    return len(files)


def about_lost(seen: dict[str, Any]) -> str:
    return "".join(each["text"] for each in seen["advice"] if each["about"] == "lost")


def test_docker_pushes_a_lost_layer_again(serve: Serve, docker: Docker, tmp_path: Path) -> None:
    server = serve(Options(workers=2))
    carol, dave = server.add_user("carol"), server.add_user("dave")
    first, second = f"{server.address}/carol/app:1", f"{server.address}/dave/other:2"
    docker.load(FIRST, first, tmp_path / "first")
    docker.load(SECOND, second, tmp_path / "second")
    for account, name in ((carol, first), (dave, second)):
        docker.login(server.address, account)
        docker("push", name)
    assert damage(server.disks) > 4
    docker.forget_images()
    pull = docker.started("pull", second)  # it gives up after a minute or two
    wait_until("docker cannot pull it", lambda: "Retrying" in pull.log_end(), seconds=30)
    pull.kill()
    both = {("carol/app", "1"), ("dave/other", "2")}

    def named() -> set[tuple[str, ...]]:
        return {(row["repository"], *row["tags"]) for row in server.status()["lost"]}

    wait_until("both images are named", lambda: named() == both, seconds=10, every=0.5)
    seen = server.status()
    assert "carol/app:1" in about_lost(seen)
    assert "dave/other:2" in about_lost(seen)
    assert len(seen["lost"]) >= 2
    assert server.is_ready()
    docker.load(FIRST, first, tmp_path / "again")
    docker.login(server.address, carol)
    pushed = docker("push", first)
    assert "Layer already exists" not in pushed
    assert server.status()["lost"] == []
    assert about_lost(server.status()) == ""
    for account, name, word in ((carol, first, "first"), (dave, second, "second")):
        docker.login(server.address, account)
        docker.forget_images()
        docker("pull", name)
        assert docker.run(name) == f"{word}\n"

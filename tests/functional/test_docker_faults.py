"""dockerd keeps its promise to its user while our server is killed under it and started again."""

from pathlib import Path

import pytest

from tests import images
from tests.functional.conftest import Serve
from tests.functional.docker import Docker
from tests.functional.programs import wait_until
from tests.functional.server import Account, Options, Server
from tests.images import Image

pytestmark = pytest.mark.early

MIB = 1024 * 1024
WHOLE = 192 * MIB
ENOUGH = 24 * MIB


@pytest.fixture(scope="module")
def large() -> Image:
    """Return an image whose last layer nothing compresses, so that it takes a while to move."""
    noise = images.noise_layer("noise", WHOLE)
    return Image([images.busybox_layer(), noise], ["/bin/busybox", "sha256sum", "/noise"])


def stored(server: Server) -> int:
    """Return how many bytes of chunks the server has on its disks."""
    files = (path for disk in server.disks for path in (disk / "chunks").glob("*/*/*"))
    return sum(path.stat().st_size for path in files)


def prepare(docker: Docker, server: Server, image: Image, scratch: Path) -> tuple[Account, str]:
    """Log a new user in and give the daemon the image under a name of theirs."""
    account = server.add_user("carol")
    name = f"{server.address}/{account.name}/large:1"
    docker.load(image, name, scratch / "layout")
    docker.login(server.address, account)
    return account, name


def test_a_push_survives_that_the_server_is_killed_and_restarted(
    docker: Docker, serve: Serve, large: Image, tmp_path: Path
) -> None:
    server = serve(Options(workers=3))
    _, name = prepare(docker, server, large, tmp_path)
    push = docker.started("push", name)
    wait_until("the push is under way", lambda: stored(server) > ENOUGH)
    server.crash()
    assert stored(server) < WHOLE
    server.start()
    assert push.wait(seconds=90) == 0, push.log_end()
    docker.forget_images()
    docker("pull", name)
    assert docker.run(name).split()[0] == images.noise_sha256(WHOLE)


def test_a_pull_goes_on_where_it_was_after_the_server_was_killed_and_restarted(
    docker: Docker, serve: Serve, large: Image, tmp_path: Path
) -> None:
    server = serve(Options())
    _, name = prepare(docker, server, large, tmp_path)
    docker("push", name)
    docker.forget_images()
    pull = docker.started("pull", name)
    wait_until("the pull is under way", lambda: docker.daemon.downloading() > ENOUGH)
    server.crash()
    assert docker.daemon.downloading() < WHOLE
    server.start()
    assert pull.wait(seconds=90) == 0, pull.log_end()
    assert docker.run(name).split()[0] == images.noise_sha256(WHOLE)
    wait_until("it went on where it was", lambda: '"status":206' in server.log.read_text())

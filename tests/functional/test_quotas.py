"""A full namespace: docker says why a push is refused, pulls go on, and a purge makes room."""

import secrets
from pathlib import Path

from tests.functional.docker import Docker
from tests.functional.server import Account, Server
from tests.images import Image, text_layer

BYTES = 300_000


def noise(target: Path) -> Image:
    """Return an image of one layer that no compression makes smaller."""
    return Image([text_layer(target, {"noise": secrets.token_hex(BYTES)})], ["/noise"])


def test_docker_is_told_that_a_namespace_is_full(
    docker: Docker, server: Server, alice: Account, tmp_path: Path
) -> None:
    docker.login(server.address, alice)
    first, second = (f"{server.address}/{alice.name}/{name}:1" for name in ("first", "second"))
    for number, name in enumerate((first, second)):
        docker.load(noise(tmp_path / f"layer{number}.tar"), name, tmp_path / f"image{number}")
    server.admin("quota", "set", alice.name, "500kB")
    docker("push", first)
    said = docker.refused("push", second)
    assert f"denied: {alice.name} has used" in said, said
    assert "of 500 kB" in said
    assert "Delete what is not needed, or ask an administrator for more" in said
    docker("push", first)
    docker.forget_images()
    docker("pull", first)
    server.admin("repo", "delete", f"{alice.name}/first", "--yes")
    docker.load(noise(tmp_path / "layer2.tar"), second, tmp_path / "image2")
    assert "denied" in docker.refused("push", second), "it counts while it can be restored"
    server.admin("collect", "--purge", f"{alice.name}/first", "--yes")
    docker("push", second)
    docker.forget_images()

"""podman: push, pull and run, with gzip and with zstd layers."""

import base64
import json
from pathlib import Path

from tests import images
from tests.functional.docker import Daemon, Docker
from tests.functional.podman import Podman
from tests.functional.server import Account, Server
from tests.functional.skopeo import Skopeo
from tests.images import Image, Layout


def test_a_pushed_image_is_pulled_and_runs(
    podman: Podman, server: Server, alice: Account, perl: Image, tmp_path: Path
) -> None:
    name = f"{server.address}/{alice.name}/perl:1"
    assert "Login Succeeded" in podman.login(server, alice)
    podman.load(perl, name, tmp_path / "layout")
    podman.push(name)
    podman("rmi", "--all", "--force")
    podman.pull(name)
    assert podman.run(name) == "hello from perl\n"


def test_an_image_with_zstd_layers_is_pushed_pulled_and_runs(
    podman: Podman, skopeo: Skopeo, server: Server, alice: Account, busybox: Image, tmp_path: Path
) -> None:
    name = f"{server.address}/{alice.name}/busybox:zstd"
    podman.login(server, alice)
    podman.load(busybox, name, tmp_path / "layout")
    podman.push(name, "--compression-format=zstd")
    [layer] = skopeo.inspect_raw(f"{alice.name}/busybox:zstd")["layers"]
    assert layer["mediaType"] == images.LAYER_ZSTD
    podman("rmi", "--all", "--force")
    podman.pull(name)
    assert podman.run(name) == "hello from busybox\n"


def test_the_platform_of_this_machine_is_pulled_from_an_index(
    podman: Podman, skopeo: Skopeo, server: Server, alice: Account, busybox: Image, tmp_path: Path
) -> None:
    layout = Layout(tmp_path / "multi")
    foreign = Image([images.debian_layer("data", images.DATA)], ["sh"], architecture="arm64")
    source = layout.tag(layout.index([foreign, busybox]), "1")
    skopeo.copy(source, skopeo.at(f"{alice.name}/multi:1"), "--all")
    podman.login(server, alice)
    name = f"{server.address}/{alice.name}/multi:1"
    podman.pull(name)
    assert podman.run(name) == "hello from busybox\n"


def test_a_private_image_is_refused_without_login(
    podman: Podman, skopeo: Skopeo, server: Server, alice: Account, busybox: Image, tmp_path: Path
) -> None:
    source = Layout(tmp_path / "source").tagged(busybox, "1")
    skopeo.copy(source, skopeo.at(f"{alice.name}/app:1"))
    name = f"{server.address}/{alice.name}/app:1"
    said = podman.refused("pull", "--tls-verify=false", name)
    assert "unauthorized" in said or "denied" in said
    server.admin("repo", "public", f"{alice.name}/app")
    podman.pull(name)
    assert podman.run(name) == "hello from busybox\n"


def test_podman_goes_on_with_the_login_of_docker(
    podman: Podman, daemon: Daemon, server: Server, alice: Account, busybox: Image, tmp_path: Path
) -> None:
    """Docker keeps what it was given, which every program that reads its file understands."""
    docker = Docker(daemon, podman.home / ".docker")
    docker.login(server.address, alice)
    [kept] = json.loads((podman.home / ".docker/config.json").read_text())["auths"].values()
    assert kept == {"auth": base64.b64encode(f"{alice.name}:{alice.password}".encode()).decode()}
    podman.use_logins_of_docker()
    name = f"{server.address}/{alice.name}/shared:1"
    docker.load(busybox, name, tmp_path / "layout")
    docker("push", name)
    podman.pull(name)
    assert podman.run(name) == "hello from busybox\n"
    podman.push(name)
    said = podman("login", "--tls-verify=false", server.address)
    assert "Existing credentials are valid" in said
    for _ in range(2):
        assert "Login Succeeded" in podman.login(server, alice)
        docker.login(server.address, alice)
    podman.push(name)


def test_searching_finds_what_one_may_see(
    podman: Podman, skopeo: Skopeo, server: Server, alice: Account, busybox: Image, tmp_path: Path
) -> None:
    """Podman asks for the catalog without its scope, and then again with that of the challenge."""
    source = Layout(tmp_path / "source").tagged(busybox, "1")
    skopeo.copy(source, skopeo.at(f"{alice.name}/searched:1"))
    search = ("search", "--tls-verify=false", "--format={{.Name}}", f"{server.address}/searched")
    assert podman(*search) == ""
    podman.login(server, alice)
    assert podman(*search).split() == [f"{server.address}/{alice.name}/searched"]

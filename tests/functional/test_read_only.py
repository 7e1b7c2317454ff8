"""Read-only with real clients: what people see, what waits by itself, and that pulls go on."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.functional.docker import Docker
from tests.functional.podman import Podman
from tests.functional.programs import run, wait_until
from tests.functional.server import Account, Server
from tests.functional.skopeo import Skopeo
from tests.images import Image, Layout


@contextmanager
def read_only(server: Server, name: str = "") -> Iterator[None]:
    """Have a namespace or repository be read-only within; without a name all of the registry."""
    words = ("repo", "read-only", name) if name else ("cluster", "set")
    on, off = ("on", "off") if name else ("read_only=on", "read_only=off")
    server.admin(*words, on)
    try:
        yield
    finally:
        server.admin(*words, off)


def test_clients_say_why_and_stop_at_once_where_a_namespace_is_read_only(
    server: Server,
    alice: Account,
    docker: Docker,
    podman: Podman,
    skopeo: Skopeo,
    busybox: Image,
    tmp_path: Path,
) -> None:
    repository = f"{alice.name}/app"
    name = f"{server.address}/{repository}"
    docker.load(busybox, f"{name}:1", tmp_path / "layout")
    docker.login(server.address, alice)
    docker("push", f"{name}:1")
    source = Layout(tmp_path / "source").tagged(busybox, "2")
    podman.login(server, alice)
    podman.load(busybox, f"{name}:3", tmp_path / "podman")
    for what in (alice.name, repository):
        with read_only(server, what):
            told = f"{what} is read-only: pulls go on"
            docker("tag", f"{name}:1", f"{name}:2")
            said = docker.refused("push", f"{name}:2")
            assert told in said
            assert "denied" in said
            assert "Retrying" not in said
            assert told in skopeo.copy_refused(source, skopeo.at(f"{repository}:2"))
            assert told in skopeo.delete_refused(f"{repository}:1")
            assert told in podman.refused("push", "--tls-verify=false", f"{name}:3")
            docker.forget_images()
            docker("pull", f"{name}:1")
    docker("tag", f"{name}:1", f"{name}:2")
    docker("push", f"{name}:2")


def test_a_push_waits_while_the_registry_is_read_only_and_goes_through_afterwards(
    server: Server,
    alice: Account,
    docker: Docker,
    skopeo: Skopeo,
    busybox: Image,
    tmp_path: Path,
) -> None:
    name = f"{server.address}/{alice.name}/app:1"
    docker.load(busybox, name, tmp_path / "layout")
    docker.login(server.address, alice)
    source = Layout(tmp_path / "source").tagged(busybox, "2")
    with read_only(server):
        refused = skopeo.copy_refused(source, skopeo.at(f"{alice.name}/other:2"))
        assert "503 Service Unavailable" in refused, "of a 5xx clients show the status alone"
        push = docker.started("push", name)
        wait_until("docker tries again", lambda: "Retrying" in push.log_end(), seconds=20)
    assert push.wait(seconds=40) == 0, push.log_end()
    docker.forget_images()
    docker("pull", name)


def test_what_a_command_has_set_the_api_says_and_the_other_way_round(server: Server) -> None:
    admin = server.add_token(server.admin_account, "--allow", "api")
    curl = ("curl", "--silent", "--user", f"{admin.name}:{admin.password}")
    url = f"http://{server.address}/api/v1"
    with read_only(server):
        assert json.loads(run(*curl, f"{url}/cluster"))["read_only"] is True
        put = ("--request", "PUT", "--json", '{"read_only": false}', f"{url}/read-only")
        assert json.loads(run(*curl, *put)) == {"read_only": False, "not_heeded_by": []}
        assert json.loads(server.admin("cluster", "status", "--json"))["read_only"] is False
    told = json.loads(run(*curl, "--data", "{}", f"{url}/read-only"))
    assert told["type"] == "urn:treescale:problem:method"

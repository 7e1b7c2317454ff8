"""Robots of a real server with real clients: by a secret, by an ID token, by an exchange."""

import json
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.functional.docker import Docker
from tests.functional.issuer import Issuer, issuing
from tests.functional.podman import Podman
from tests.functional.programs import free_port, wait_until
from tests.functional.server import Account, Options, Server
from tests.functional.skopeo import Skopeo
from tests.functional.wire import Wire
from tests.images import Image, Layout
from treescale.server.network.machine import address_for_others

EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
ID_TOKEN: Final = "urn:ietf:params:oauth:token-type:id_token"


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Issuer]:
    """An issuer of ID tokens."""
    host = address_for_others()
    assert host is not None, "the machine needs a network"
    with issuing(host, tmp_path_factory.mktemp("issuer")) as found:
        yield found


@pytest.fixture(scope="module")
def registry(issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that has a public URL, trusts the issuer's certificate, and has a team."""
    port = free_port()
    variables = (
        ("TREESCALE_PUBLIC_URL", f"http://127.0.0.1:{port}"),
        ("TREESCALE_OUTBOUND_CA", str(issuer.ca_file)),
    )
    server = Server(tmp_path_factory.mktemp("robots"), Options(port=port, variables=variables))
    server.start()
    server.add_user("alice")
    server._administer("org", "add", "acme", "--owner", "alice")
    yield server
    assert server.stop() == 0


def robot(server: Server, name: str, *flags: str) -> Account:
    return Account(f"acme+{name}", server._administer("robot", "add", "acme", name, *flags).strip())


def asked(server: Server, account: Account) -> int:
    """Return what is answered to whoever asks for a token."""
    return Wire(server, account).with_basic("GET", "/token").status


def test_docker_podman_and_skopeo_are_robots(
    registry: Server, docker: Docker, podman: Podman, busybox: Image, tmp_path: Path
) -> None:
    ci = robot(registry, "ci", "--repository", "acme/app*")
    cluster = robot(registry, "cluster", "--allow", "pull", "--expires", "90d")
    skopeo = Skopeo(registry, ci, tmp_path)
    source = Layout(tmp_path / "source").tagged(busybox, "1")
    skopeo.copy(source, skopeo.at("acme/app:1"))
    assert "denied" in skopeo.copy_refused(source, skopeo.at("acme/web:1")).lower()
    image = f"{registry.address}/acme/app:1"
    assert "Login Succeeded" in docker.login(registry.address, cluster)
    docker("pull", image)
    docker("tag", image, f"{registry.address}/acme/app:2")
    assert "denied" in docker.refused("push", f"{registry.address}/acme/app:2")
    words = ("--username", ci.name, "--password-stdin", "--tls-verify=false", registry.address)
    podman("login", *words, text_in=ci.password)
    podman("pull", "--tls-verify=false", image)
    podman("push", "--tls-verify=false", image, f"{registry.address}/acme/app:2")
    assert set(skopeo.tags("acme/app")) == {"1", "2"}
    assert "unauthorized" in docker.login_refused(
        registry.address, Account("acme+none", ci.password)
    )
    shown = json.loads(registry.admin("robot", "show", "acme+ci", "--json"))
    assert shown["last_address"] == "127.0.0.1"
    second = registry.admin("robot", "rotate", "acme+ci", "--now").strip()
    wait_until("the first secret is none", lambda: asked(registry, ci) == 401, every=0.2)
    assert asked(registry, Account(ci.name, second)) == 200


def trusted(registry: Server, issuer: Issuer, name: str) -> None:
    """Have the issuer's tokens be taken for a robot, as docs/teams.md does."""
    robot(registry, name)
    place = issuer.url.removeprefix("https://")
    registry._administer("cluster", "set", f"issuer-networks={place}")
    registry._administer("issuer", "add", issuer.url)
    claims = ("--claim", "repository=acme/app", "--claim", "repository_owner_id=42")
    registry._administer("robot", "trust", f"acme+{name}", "--issuer", issuer.url, *claims)


def test_an_id_token_logs_in_without_a_secret(
    registry: Server, issuer: Issuer, docker: Docker, busybox: Image, tmp_path: Path
) -> None:
    trusted(registry, issuer, "keyless")
    audience = registry.options.variables[0][1]
    token = issuer.token(audience)
    ci = Account("acme+keyless", token)
    assert "Login Succeeded" in docker.login(registry.address, ci)
    skopeo = Skopeo(registry, ci, tmp_path)
    skopeo.copy(Layout(tmp_path / "source").tagged(busybox, "1"), skopeo.at("acme/keyless:1"))
    docker("pull", f"{registry.address}/acme/keyless:1")
    for _ in range(5):  # a kubelet presents what it was given, again and again
        assert asked(registry, ci) == 200
    assert issuer.asked.count("/keys") <= 2, "each worker asks once"
    for wrong in (
        issuer.token("https://other.example"),
        issuer.token(audience, repository="acme/web"),
        issuer.token(audience, event_name="pull_request_target"),
        token[:-8] + "AAAAAAAA",
    ):
        assert asked(registry, Account(ci.name, wrong)) == 401


def exchange(server: Server, token: str) -> tuple[int, Any]:
    """Exchange a token as a script in CI does, and return what is answered."""
    form = {"grant_type": EXCHANGE, "subject_token": token, "subject_token_type": ID_TOKEN}
    body = urllib.parse.urlencode({**form, "robot": "acme+exchange"}).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = Wire(server)._send("POST", "/token", body, headers, "")
    return answer.status, json.loads(answer.body)


def test_an_id_token_is_exchanged_for_an_hour(
    registry: Server, issuer: Issuer, busybox: Image, tmp_path: Path
) -> None:
    trusted(registry, issuer, "exchange")
    token = issuer.token(registry.options.variables[0][1])
    status, made = exchange(registry, token)
    assert (status, made["username"]) == (200, "acme+exchange")
    skopeo = Skopeo(registry, Account(made["username"], made["access_token"]), tmp_path)
    skopeo.copy(Layout(tmp_path / "source").tagged(busybox, "1"), skopeo.at("acme/exchange:1"))
    assert exchange(registry, token)[0] == 401
    registry._administer("issuer", "remove", issuer.url, "--yes")
    assert exchange(registry, issuer.token(registry.options.variables[0][1]))[0] == 401
    assert "exchange" in registry.admin("events", "--kind", "robot.*", "--json")

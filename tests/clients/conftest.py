"""Clients that Debian has not: built by Go, which `make clients` needs; and who they log in as.

Versions are those that docs/clients.md tells of; each program is built once, below `.make`.
"""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import aiohttp
import pytest

from tests.console.web.browser import Browser
from tests.functional.cluster.record import CLOCK
from tests.functional.conftest import daemon, docker, short_directory
from tests.functional.programs import Program, free_port
from tests.functional.server import Account, Options, Server
from tests.functional.test_people import make_token, provider, sign_on
from tests.go_programs import MADE, built_as_dependency
from tests.go_programs import built as built_by_go
from tests.id_tokens import RSA_KEY, Maker, jwk, jwks

__all__ = ["daemon", "docker", "provider"]  # fixtures

MODULES: Final = {
    "crane": "github.com/google/go-containerregistry/cmd/crane@v0.22.1",
    "oras": "oras.land/oras/cmd/oras@v1.3.6",
    "helm": "helm.sh/helm/v3/cmd/helm@v3.22.0",
    "buildx": "github.com/docker/buildx/cmd/buildx@v0.38.2",
    "buildkitd": "github.com/moby/buildkit/cmd/buildkitd@v0.34.2",
}
REFUSED: Final = {"buildkitd"}
"""By `go install`."""
ISSUER: Final = "https://issuer.example"
ALL: Final = "pull,push,delete"


def built(name: str) -> Path:
    """Return the path of a program, which is built if it was not yet."""
    build = built_as_dependency if name in REFUSED else built_by_go
    return build(MODULES[name], MADE / "clients")


@pytest.fixture(scope="module")
def registry(provider: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a team whose developers sign on by a provider."""
    port = free_port()
    variables = (("TREESCALE_PUBLIC_URL", f"http://127.0.0.1:{port}"),)
    options = Options(port=port, variables=variables, workers=2)
    server = Server(tmp_path_factory.mktemp("clients"), options).start()
    server.add_user("alice")
    server._administer("org", "add", "acme", "--owner", "alice")
    place = provider.removeprefix("http://")
    server._administer("cluster", "set", f"issuer-networks={place}")
    words = ("sign-on", "add", "corp", "--issuer", provider, "--client-id", "registry")
    more = ("--client-secret-stdin", "--group", "developers=acme:maintainer")
    server._administer(*words, *more, text_in="a secret\n")
    yield server
    assert server.stop() == 0


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture(params=["robot", "person"])
async def account(
    request: pytest.FixtureRequest, registry: Server, session: aiohttp.ClientSession
) -> Account:
    """A robot with its secret; a person who signed on, with an access token of the page."""
    name = request.node.name.partition("[")[0].removeprefix("test_").replace("_", "-")
    if request.param == "robot":
        words = ("robot", "add", "acme", name, "--allow", ALL)
        return Account(f"acme+{name}", registry.admin(*words).strip())
    browser = Browser(session, f"http://{registry.address}")
    (await sign_on(browser)).expect(303)
    await browser.learn()
    return await make_token(browser, "dora", ALL)


@pytest.fixture
def keyless(registry: Server, tmp_path: Path) -> Account:
    """A robot with an ID token, of an issuer whose keys were given."""
    keys = tmp_path / "jwks.json"
    keys.write_bytes(jwks(jwk(RSA_KEY, "k1")))
    registry._administer("issuer", "add", ISSUER, "--jwks", str(keys))
    registry._administer("robot", "add", "acme", "keyless")
    claims = ("--claim", "sub=repo:acme/app:*")
    registry._administer("robot", "trust", "acme+keyless", "--issuer", ISSUER, *claims)
    audience = f"http://{registry.address}"
    return Account("acme+keyless", Maker(ISSUER, CLOCK.now(), audience).token())


@pytest.fixture(scope="module")
def builder(registry: Server) -> Iterator[str]:
    """A BuildKit that pushes to the registry without TLS; return where it answers."""
    with short_directory() as home:
        settings, socket = home / "buildkitd.toml", home / "buildkitd.sock"
        settings.write_text(
            f'root = "{home}/root"\n'
            '[worker.oci]\nsnapshotter = "native"\n[worker.containerd]\nenabled = false\n'
            f'[registry."{registry.address}"]\nhttp = true\n'
        )
        words = ("--config", settings, "--addr", f"unix://{socket}")
        program = Program(built("buildkitd"), *words, log=home / "log")
        program.start_until("BuildKit answers", socket.exists, seconds=40)
        yield f"unix://{socket}"
        program.stop()

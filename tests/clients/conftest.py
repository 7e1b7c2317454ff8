"""Clients that Debian has not: built by Go, which `make clients` needs; and who they log in as.

Versions are those that docs/clients.md tells of; each program is built once, below `.make`.
"""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import aiohttp
import pytest

from tests.console.web.browser import Browser
from tests.functional.programs import free_port
from tests.functional.server import Account, Options, Server
from tests.functional.test_people import make_token, provider, sign_on
from tests.go_programs import MADE
from tests.go_programs import built as built_by_go

__all__ = ["provider"]  # a fixture

MODULES: Final = {
    "crane": "github.com/google/go-containerregistry/cmd/crane@v0.22.1",
    "oras": "oras.land/oras/cmd/oras@v1.3.6",
    "helm": "helm.sh/helm/v3/cmd/helm@v3.22.0",
    "buildx": "github.com/docker/buildx/cmd/buildx@v0.38.2",
}
ALL: Final = "pull,push,delete"


def built(name: str) -> Path:
    """Return the path of a program, which is built if it was not yet."""
    return built_by_go(MODULES[name], MADE / "clients")


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

"""`/descriptions`: who reads and writes what repositories and namespaces say of themselves."""

import pytest

from tests.api.client import Client
from tests.api.running import Running
from tests.console.asked import ask
from tests.console.test_api import LAYER, problem
from treescale.registry.naming.descriptions import DESCRIPTION_BYTES_MAX

APP, ACME = "/descriptions/acme/app", "/descriptions/acme"
SAID = {"description": "# App\n\nIt works."}


@pytest.fixture
async def app(registry: Running, root: Client, alice: Client, bob: Client) -> Running:
    """Alice's organisation acme, with one repository."""
    assert bob.user
    made = await ask(root, "POST", "/organisations", {"name": "acme", "owner": "alice"})
    made.expect(200)
    await alice.repository("acme/app").push_image("1", LAYER)
    return registry


@pytest.mark.usefixtures("app")
async def test_maintainers_say_what_it_is(alice: Client, bob: Client, root: Client) -> None:
    for path, of in ((APP, "/repositories/acme/app"), (ACME, "/organisations/acme")):
        assert (await ask(alice, "GET", path)).expect(200).json == {"description": ""}
        for method, body in (("GET", None), ("PUT", SAID)):
            problem(await ask(bob, method, path, body), 404, "unknown")
        assert (await ask(alice, "PUT", path, SAID)).expect(200).json == SAID
        assert (await ask(alice, "GET", of)).expect(200).json["description"] == "# App\n\nIt works."
    grant = "/organisations/acme/members/bob"
    (await ask(alice, "PUT", grant, {"role": "writer"})).expect(200)
    for path in (APP, ACME):
        assert (await ask(bob, "GET", path)).expect(200).json == SAID
        problem(await ask(bob, "PUT", path, SAID), 403, "forbidden")
    (await ask(alice, "PUT", grant, {"role": "maintainer"})).expect(200)
    for who in (bob, root):
        for path in (APP, ACME):
            other = {"description": who.user}
            assert (await ask(who, "PUT", path, other)).expect(200).json == other


@pytest.mark.usefixtures("app")
async def test_who_edits_an_old_one_is_told(alice: Client) -> None:
    for path in (APP, ACME):
        seen = (await ask(alice, "GET", path)).headers["ETag"]
        (await ask(alice, "PUT", path, SAID, **{"If-Match": seen})).expect(200)
        late = await ask(alice, "PUT", path, {"description": "x"}, **{"If-Match": seen})
        problem(late, 412, "precondition")


@pytest.mark.usefixtures("app")
async def test_what_cannot_be_said(alice: Client) -> None:
    most = "\u00e9" * (DESCRIPTION_BYTES_MAX // 2)
    assert (await ask(alice, "PUT", APP, {"description": most})).expect(200).json[
        "description"
    ] == most
    for text in (most + "x", "a\u0007b"):
        problem(await ask(alice, "PUT", APP, {"description": text}), 400, "field")
    lines = {"description": "\r\n a\r\nb \r\n\r\n"}
    assert (await ask(alice, "PUT", APP, lines)).expect(200).json == {"description": " a\nb "}
    assert (await ask(alice, "PUT", APP, {"description": " \n"})).expect(200).json == {
        "description": ""
    }
    for name in ("acme/none", "none"):
        problem(await ask(alice, "PUT", f"/descriptions/{name}", SAID), 404, "unknown")

"""`/api/v1/audit`: who may read it, what is in it, and how it is narrowed and exported."""

import json
from typing import Any, Final
from urllib.parse import urlencode

import pytest

from tests.api.client import Client
from tests.api.running import PASSWORD, Running
from tests.console.asked import ask
from tests.console.test_api import LAYER, problem
from tests.console.test_events import token, with_token
from tests.contracts.metadata_values import ACTOR
from tests.tables import each_row
from treescale.auth.scopes import TokenScope
from treescale.console.route import PREFIX
from treescale.metadata.database import Database
from treescale.metadata.events.recording import Event, Kind, record_all

LINES: Final = "application/x-ndjson"
HERE: Final = "127.0.0.1"


async def entries(who: Client, **query: str) -> list[dict[str, Any]]:
    """Read all pages of what is asked for."""
    found: list[dict[str, Any]] = []
    while True:
        page = (await ask(who, "GET", f"/audit?{urlencode(query)}")).expect(200).json
        found += page["entries"]
        if page["next"] is None:
            return found
        query["after"] = page["next"]


async def lines(who: Client, path: str) -> list[dict[str, Any]]:
    """Read what is answered piece by piece."""
    headers = who.basic() | {"Accept": LINES}
    async with who.session.get(who.url + PREFIX + path, headers=headers) as response:
        assert (response.status, response.headers["Content-Type"]) == (200, LINES)
        return [json.loads(each) for each in (await response.read()).splitlines()]


def kinds(found: list[dict[str, Any]]) -> list[str]:
    return [each["kind"] for each in found]


@pytest.fixture
async def team(registry: Running, root: Client, alice: Client, bob: Client) -> Database:
    """Alice's organisation acme with an image, of which bob is a maintainer."""
    await ask(root, "POST", "/organisations", {"name": "acme", "owner": "alice"})
    await alice.repository("acme/app").push_image("1", LAYER)
    role = {"role": "maintainer"}
    (await ask(alice, "PUT", "/organisations/acme/members/bob", role)).expect(200)
    assert bob.user
    return registry.parts.database


@pytest.mark.usefixtures("team")
async def test_it_says_who_did_what_from_where(alice: Client) -> None:
    found = await entries(alice, namespace="acme", order="oldest")
    assert kinds(found) == [
        "organisation.created",
        "member.granted",
        "repository.created",
        "image.pushed",
        "member.granted",
    ]
    assert [each["actor"] for each in found] == ["root", "root", "alice", "alice", "alice"]
    assert {each["address"] for each in found} == {HERE}
    assert all(each["request_id"] for each in found)
    assert found[-1]["payload"] == {"user": "bob", "role": "maintainer", "repository": "*"}
    assert found[::-1] == await entries(alice, namespace="acme")


ROWS: Final[tuple[tuple[str, str | None, int, set[str] | None], ...]] = (
    # who, of which namespace, the status, whose entries there are
    ("anybody", "acme", 401, None),
    ("alice", "acme", 200, {"acme"}),
    ("alice", "alice", 200, {"alice"}),
    ("alice", None, 200, {"alice"}),
    ("alice", "bob", 404, None),
    ("alice", "none", 404, None),
    ("bob", "acme", 403, None),
    ("bob", None, 200, {"bob"}),
    ("carol", "acme", 404, None),
    ("root", "acme", 200, {"acme"}),
    ("root", "none", 404, None),
    ("root", None, 200, {"acme", "alice", "bob", "carol", "root"}),
)


@pytest.fixture
async def people(
    registry: Running, root: Client, alice: Client, bob: Client, anybody: Client
) -> dict[str, Client]:
    """Everybody, by name."""
    await registry.parts.accounts.add_user("carol", PASSWORD, actor=ACTOR)
    carol = Client(root.session, root.url, "carol", PASSWORD)
    return {"anybody": anybody, "alice": alice, "bob": bob, "carol": carol, "root": root}


@each_row("who, namespace, status, seen", ROWS)
@pytest.mark.usefixtures("team")
async def test_owners_read_their_own_and_administrators_all(
    people: dict[str, Client], who: str, namespace: str | None, status: int, seen: set[str] | None
) -> None:
    query = "" if namespace is None else f"?namespace={namespace}"
    answer = (await ask(people[who], "GET", f"/audit{query}")).expect(status)
    if seen is not None:
        assert {each["namespace"] for each in answer.json["entries"]} == seen


@pytest.mark.usefixtures("team")
async def test_a_stranger_learns_nothing_of_what_is_there(alice: Client) -> None:
    there, absent = [(await ask(alice, "GET", f"/audit?namespace={n}")).json for n in ("bob", "no")]
    there.pop("request_id", None)
    absent.pop("request_id", None)
    assert json.dumps(there).replace("bob", "no") == json.dumps(absent)


async def test_of_who_had_the_name_before_nothing_is_shown(
    registry: Running, root: Client, alice: Client
) -> None:
    """Not to whoever has it now: to administrators all of it is."""
    accounts = registry.parts.accounts
    await registry.parts.database.access_tokens.list("alice")
    await accounts.remove_user("alice", actor="root")
    await accounts.add_user("alice", PASSWORD, actor="root")
    again = Client(alice.session, alice.url, "alice", PASSWORD)
    assert kinds(await entries(again)) == ["user.created"]
    assert kinds(await entries(root, namespace="alice")) == [
        "user.created",
        "user.removed",
        "user.created",
    ]


@pytest.mark.usefixtures("team")
async def test_it_is_narrowed(alice: Client, root: Client) -> None:
    async def of_acme(**query: str) -> list[str]:
        return kinds(await entries(alice, namespace="acme", order="oldest", **query))

    assert await of_acme(kind="member.*,image.pushed", n="1") == [
        "member.granted",
        "image.pushed",
        "member.granted",
    ]
    assert await of_acme(actor="root") == ["organisation.created", "member.granted"]
    assert await of_acme(repository="acme/*") == ["repository.created", "image.pushed"]
    assert await of_acme(until="1h") == await of_acme(since="2100-01-01") == []
    assert len(await of_acme(since="1h", until="2100-01-01T00:00:00+01:00")) == 5
    assert kinds(await entries(root, actor="nobody")) == []


@each_row(
    "query",
    (
        ("order=up",),
        ("since=yesterday",),
        ("until=99999999-01-01",),
        ("after=MS4x",),
        ("after=%00",),
        ("n=0",),
        ("namespace=A%00",),
        ("actor=" + 300 * "a",),
        ("nothing=1",),
    ),
)
async def test_what_cannot_be_asked(root: Client, query: str) -> None:
    (await ask(root, "GET", f"/audit?{query}")).expect(400)


@pytest.mark.usefixtures("team")
async def test_it_is_exported_as_lines(alice: Client) -> None:
    found = await lines(alice, "/audit?namespace=acme&order=oldest")
    assert found == await entries(alice, namespace="acme", order="oldest")
    problem(await ask(alice, "GET", "/audit?namespace=bob", Accept=LINES), 404, "unknown")


async def test_more_than_is_looked_at_at_once_is_found(
    registry: Running, root: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("treescale.console.audit.LOOKED_AT_ONCE_MAX", 5)
    happened = [Event(Kind.TOKEN_CREATED, f"a{n}", namespace="acme") for n in range(17)]
    database = registry.parts.database
    await database.connections.write(lambda connection: record_all(connection, happened))
    assert len(await entries(root, namespace="acme")) == 17
    for number in (0, 9, 16):
        assert len(await entries(root, namespace="acme", actor=f"a{number}", n="1")) == 1
    assert len(await lines(root, "/audit?namespace=acme&actor=a16")) == 1
    assert len(await lines(root, "/audit?namespace=acme")) == 17


async def test_an_access_token_has_to_be_for_the_api(registry: Running, alice: Client) -> None:
    events = with_token(alice, await token(registry, "alice", TokenScope.EVENTS))
    problem(await ask(events, "GET", "/audit"), 403, "forbidden")
    api = with_token(alice, await token(registry, "alice", TokenScope.API))
    assert kinds(await entries(api))[-1] == "user.created"

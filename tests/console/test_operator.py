"""The API in process: the same answers and refusals as by HTTP, for who may do everything."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from tests.api.client import Client
from tests.api.running import PASSWORD, Running
from tests.console.asked import ask
from tests.tables import each_row
from treescale.auth.scopes import TokenScope
from treescale.console.body import BODY_BYTES_MAX
from treescale.console.problems import problem_of
from treescale.console.route import PREFIX, ApiRoute, segment, segments_of
from treescale.console.table.operator import Operator
from treescale.console.table.routes import api_routes
from treescale.errors import TreeScaleError, Unsupported

ACTOR = "cli:root@here"


def routes_of(registry: Running) -> Sequence[ApiRoute]:
    parts = registry.parts
    return api_routes(parts.database, parts.clock, registry.live, passwords=parts.passwords)


@pytest.fixture
def here(registry: Running) -> Operator:
    return Operator(routes_of(registry), ACTOR)


async def test_both_ways_say_the_same(here: Operator, root: Client) -> None:
    made = {"name": "acme", "owner": "alice"}
    asked: tuple[tuple[str, str, object], ...] = (
        ("POST", "/organisations", made),
        ("POST", "/organisations", made),
        ("POST", "/organisations", {"name": "acme"}),
        ("POST", "/organisations", {"name": "acme", "owner": "alice", "more": 1}),
        ("POST", "/organisations", None),
        ("GET", "/organisations/acme", None),
        ("GET", "/organisations/acme", {}),
        ("GET", "/organisations/none", None),
        ("GET", "/organisations?colour=red", None),
        ("PUT", "/organisations/acme/members/bob", {"role": "writer"}),
        ("PUT", "/organisations/acme/members/bob", {"role": "x" * BODY_BYTES_MAX}),
        ("GET", "/organisations/acme/members", None),
        ("GET", "/organisations/acme%2Fmembers", None),
        ("PATCH", "/organisations", None),
        ("GET", "/nothing", None),
        ("GET", "/read-only/alice", None),
    )
    for method, path, body in asked:
        remote = await ask(root, method, path, body)
        if method == "POST" and remote.status == 200:
            (await ask(root, "DELETE", "/organisations/acme")).expect(200)
        word, _, text = path.partition("?")
        query = dict([text.split("=")]) if text else {}
        if remote.status == 415:
            continue  # by HTTP the lack of a type is told first
        if remote.status == 200:
            found = await here.ask(method, word, query=query, body=body)
            assert without_times(found) == without_times(remote.json), (method, path)
            continue
        with pytest.raises(TreeScaleError) as refused:
            await here.ask(method, word, query=query, body=body)
        assert remote.json["detail"] == str(refused.value), (method, path)
        assert remote.json["type"].endswith(problem_of(refused.value).name)


def without_times(found: Any) -> Any:
    if isinstance(found, dict):
        return {
            key: without_times(value)
            for key, value in found.items()
            if key not in ("created", "since")
        }
    return [without_times(one) for one in found] if isinstance(found, list) else found


async def test_the_operator_needs_no_right_and_stands_in_the_log(
    registry: Running, here: Operator, alice: Client
) -> None:
    await alice.repository("alice/app").push_image("v1", b"a layer")
    seen = await here.ask("GET", "/repositories/alice/app")
    assert (seen["name"], seen["tags"]) == ("alice/app", 1)
    await here.ask("PUT", "/visibility/alice/app", body={"visibility": "public"})
    await registry.parts.database.event_log.number()
    page = await here.ask("GET", "/events", query={"kind": "repository.visibility"})
    assert [one["actor"] for one in page["events"]] == [ACTOR]


async def test_what_comes_piece_by_piece_is_not_asked_here(here: Operator) -> None:
    with pytest.raises(Unsupported, match="by HTTP"):
        await here.ask("GET", "/events", query={"follow": "1"})


@each_row(
    ("raw", "found"),
    [
        ("/hooks", []),
        ("/hooks/1", ["1"]),
        ("/hooks/1/deliveries", ["1"]),
        ("/repositories/alice/app", ["alice/app"]),
        ("/repositories/alice%2Fapp", ["alice/app"]),
        ("/organisations/acme/members", ["acme"]),
        ("/organisations/acme%2fmembers", ["acme/members"]),
        ("/organisations/acme/members/bob", ["acme", "bob"]),
        ("/organisations/a%2Fb/members/b%2Fo%2Fb", ["a/b", "b/o/b"]),
        ("/events/groups/a/b/next", ["a/b"]),
        ("/hooks/", None),
        ("/nothing", None),
    ],
)
async def test_a_path_is_of_one_route(raw: str, found: list[str] | None) -> None:
    paths = ["/hooks/{hook}/deliveries", "/hooks", "/hooks/{hook}", "/repositories/{name}"]
    paths += ["/organisations/{name}/members", "/organisations/{name}/members/{user}"]
    paths += ["/organisations/{name}", "/events/groups/{name}/next"]
    rows = [ApiRoute("GET", path, *[None] * 4) for path in paths]  # type: ignore[arg-type]
    matched = [row.match(segments_of(PREFIX + raw)) for row in rows]
    first = next((one for one in matched if one is not None), None)
    assert (None if first is None else [*first.values()]) == found


def test_any_word_is_one_segment() -> None:
    for word in ("alice/app", "a b", "..", "é%2F", "?#"):
        assert [*segments_of(f"{PREFIX}/hooks/{segment(word)}")] == ["hooks", word]
    assert segments_of("/api/v2/hooks") == []


async def test_a_token_is_made_for_whoever_shows_the_password(
    registry: Running, alice: Client, root: Client
) -> None:
    made = (
        (await ask(alice, "POST", "/tokens", {"name": "mine", "allow": ["api"]})).expect(200).json
    )
    assert made["token"]["allow"] == [TokenScope.API.value]
    by_token = Client(alice.session, alice.url, "alice", made["secret"])
    refused = await ask(by_token, "POST", "/tokens", {"name": "more", "allow": ["api"]})
    assert (refused.status, "password" in refused.json["detail"]) == (403, True)
    listed = (await ask(by_token, "GET", "/tokens")).expect(200)
    assert [one["name"] for one in listed.json["tokens"]] == ["mine"]
    assert made["secret"].encode() not in listed.body
    for method, path, body in (
        ("GET", "/tokens?user=bob", None),
        ("POST", "/tokens", {"name": "hers", "user": "bob"}),
    ):
        assert (await ask(alice, method, path, body)).status == 403
    theirs = (await ask(root, "POST", "/tokens", {"name": "theirs", "user": "bob"})).expect(200)
    its_id = theirs.json["token"]["id"]
    unknown = await ask(alice, "DELETE", "/tokens/none")
    hidden = await ask(alice, "DELETE", f"/tokens/{its_id}")
    assert (hidden.status, unknown.status) == (404, 404)
    assert hidden.json["detail"].replace(its_id, "none") == unknown.json["detail"]
    (await ask(root, "DELETE", f"/tokens/{its_id}")).expect(200)
    (await ask(by_token, "DELETE", f"/tokens/{made['token']['id']}")).expect(200)
    assert await registry.parts.accounts.list_tokens("alice") == []
    assert PASSWORD not in json.dumps(theirs.json)

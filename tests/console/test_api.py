"""`/api/v1`: what it says, to whom; that its document says so; and that nothing makes it fail."""

import asyncio
import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import jsonschema
import pytest
from jsonschema import Draft202012Validator
from sqlalchemy import select, update
from structlog.testing import capture_logs

from tests.api.client import Answer, Client
from tests.api.running import Running
from tests.console.asked import JSON, ask
from tests.contracts.metadata_values import ACTOR, server
from tests.examples import examples
from tests.fakes_database import Away
from treescale.auth.scopes import ALL_ACTIONS, TokenScope
from treescale.clock import SystemClock
from treescale.console.body import BODY_BYTES_MAX
from treescale.console.problems import PROBLEMS, TYPE
from treescale.console.route import PREFIX, ApiRoute, Who
from treescale.console.rules import Confirmation
from treescale.console.table.routes import api_routes
from treescale.metadata.database import Database
from treescale.metadata.identity.providers import Identity, link_identity
from treescale.metadata.identity.sessions import Session, Sessions
from treescale.metadata.records import StoreRecord
from treescale.metadata.schema import events, stores
from treescale.metadata.usage.figures import RepositoryFigures, Usage
from treescale.registry.accounts import TokenTerms

ROOT: Final = Path(__file__).parents[2]
META: Final = json.loads((ROOT / "tests/fixtures/openapi-3.1.schema.json").read_text())
PAGE: Final = (ROOT / "docs/api.md").read_text()
LAYER: Final = b"a layer"
SEEN: Final = ("alice/app", "alice/tools", "bob/app", "root/base")
STORE: Final = StoreRecord("5" * 32, "away", "/data", "", 1.0, 1.0)
EVENTS: Final = select(events.c.kind, events.c.actor).order_by(events.c.at, events.c.event_id)
EXAMPLES: Final[dict[str, bytes]] = {
    "Description": b'{"description": "# App"}',
    "Acknowledgement": b'{"sequences": [1]}',
    "NewClusterLimits": b'{"quota": "50GB"}',
    "Confirmation": b'{"confirmed_digest": ""}',
    "AdminFlag": b'{"admin": false}',
    "ChangedPassword": b'{"old": "a password for tests", "new": "a password for tests"}',
    "NewInvitation": b'{"name": "dave", "roles": []}',
    "NewProvider": b'{"name": "corp", "issuer": "https://login.example", "client_id": "ts"}',
    "Suspension": b'{"suspended": false}',
    "NewHook": b'{"scope": "alice/*", "url": "https://hooks.example.com/in"}',
    "NewLimits": b'{"quota": "50GB"}',
    "NewOrganisation": b'{"name": "team", "owner": "alice"}',
    "NewIssuer": b'{"issuer": "https://issuer.example"}',
    "NewRobot": b'{"name": "other"}',
    "NewTrustRule": b'{"issuer": "https://issuer.example", "claims": {"repository": "acme/app"}}',
    "Rotation": b'{"now": true}',
    "NewPurge": b'{"reference": "alice/gone"}',
    "NewRole": b'{"role": "writer", "repository": "acme/*"}',
    "NewRule": b'{"kind": "retention", "keep_last": 3}',
    "NewToken": b'{"name": "ci", "allow": ["api"]}',
    "NewUser": b'{"name": "carol", "password": "a password of hers"}',
    "NewPassword": b'{"password": "another password"}',
    "NewCopy": b'{"source": "alice/app:latest", "target": "root/copy:v1"}',
    "NewMove": b'{"old": "alice/tools", "new": "root/tools"}',
    "Restoration": b'{"name": "alice/app"}',
    "NewSetting": b'{"value": "off"}',
    "Forgetting": b'{"lost": true}',
    "NewJob": b'{"kind": "repair"}',
    "NewSecret": b'{"secret": "another"}',
    "VisibilityState": b'{"visibility": "internal"}',
    "ReadOnlyState": b'{"read_only": false}',
}


@pytest.fixture
async def filled(registry: Running, alice: Client, bob: Client, root: Client) -> Database:
    """Fill the registry with two repositories of alice's, one of bob's and one of root's."""
    for who, name in ((alice, SEEN[0]), (alice, SEEN[1]), (bob, SEEN[2]), (root, SEEN[3])):
        await who.repository(name).push_image("latest", LAYER)
    database = registry.parts.database
    await database.repositories.set_public("root/base", public=True, now=0.0, actor=ACTOR)
    return database


def problem(answer: Answer, status: int, name: str) -> dict[str, Any]:
    """Return a refusal that is this problem."""
    found: dict[str, Any] = answer.json
    assert (answer.status, found["status"], found["type"]) == (status, status, TYPE + name), found
    assert found["title"]
    assert found["detail"]
    assert found["request_id"]
    return found


def names(answer: Answer) -> list[str]:
    return [one["name"] for one in answer.expect(200).json["repositories"]]


@pytest.mark.usefixtures("filled")
async def test_everybody_sees_the_repositories_they_may_see(
    root: Client, alice: Client, bob: Client, anybody: Client
) -> None:
    assert names(await ask(root, "GET", "/repositories")) == list(SEEN)
    assert names(await ask(alice, "GET", "/repositories")) == [SEEN[0], SEEN[1], SEEN[3]]
    assert names(await ask(bob, "GET", "/repositories")) == [SEEN[2], SEEN[3]]
    problem(await ask(anybody, "GET", "/repositories"), 401, "credentials")
    for who, name, there in (
        (alice, "alice/app", True),
        (alice, "root/base", True),
        (alice, "bob/app", False),
        (root, "bob/app", True),
        (root, "bob/none", False),
    ):
        answer = await ask(who, "GET", f"/repositories/{name}")
        if there:
            assert answer.expect(200).json["name"] == name
            assert (await ask(who, "GET", f"/repositories/{quote(name, safe='')}")).body == (
                answer.body
            )
        else:
            problem(answer, 404, "unknown")


@pytest.mark.usefixtures("filled")
async def test_nothing_is_counted_of_what_the_caller_may_not_see(
    alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That takes the longer the more there is: names of others could be guessed by it."""
    counted: list[str] = []
    count = Usage.repository

    async def noted(self: Usage, name: str) -> RepositoryFigures | None:
        counted.append(name)
        return await count(self, name)

    monkeypatch.setattr(Usage, "repository", noted)
    for name in ("bob/app", "bob/none"):
        problem(await ask(alice, "GET", f"/repositories/{name}"), 404, "unknown")
    for name in ("alice/app", "root/base"):
        (await ask(alice, "GET", f"/repositories/{name}")).expect(200)
    assert counted == ["alice/app", "root/base"]


async def test_a_repository_is_shown_as_repo_list_does(filled: Database, alice: Client) -> None:
    await filled.read_only.set_namespace("alice", read_only=True, actor=ACTOR)
    one = (await ask(alice, "GET", "/repositories/alice/app")).expect(200).json
    assert (one["public"], one["read_only"], one["tags"]) == (False, "namespace", 1)
    assert one["bytes"] > len(LAYER)
    assert one["blobs"] == 2
    assert one["pushed"] >= one["created"]
    assert one["created"].endswith("Z")


@pytest.mark.usefixtures("filled")
async def test_pages_lead_to_each_other_and_to_an_end(root: Client) -> None:
    path, seen, pages = "/repositories?n=1", list[str](), 0
    while path:
        answer = await ask(root, "GET", path)
        seen += names(answer)
        pages += 1
        link = answer.headers.get("Link", "")
        found = re.fullmatch(rf'<{PREFIX}(/repositories\?n=1&after=[^>]+)>; rel="next"', link)
        assert bool(found) is (answer.json["next"] is not None)
        path = found[1] if found else ""
    assert (seen, pages) == (list(SEEN), len(SEEN))
    assert names(await ask(root, "GET", "/repositories?after=bob/app")) == ["root/base"]
    assert names(await ask(root, "GET", "/repositories?n=99999&after=zzz")) == []


@pytest.mark.usefixtures("filled")
async def test_the_cluster_says_what_cluster_status_does(root: Client) -> None:
    found = (await ask(root, "GET", "/cluster")).expect(200).json
    assert found["repositories"] == len(SEEN)
    assert (found["read_only"], found["collecting"]) == (False, "yes")
    for name in ("servers", "stores", "lost", "advice", "collection", "freeing", "purges"):
        assert isinstance(found[name], list), name


async def test_read_only_is_said_and_set_by_administrators(
    filled: Database, root: Client, alice: Client
) -> None:
    for path in ("/read-only", "/read-only/alice", "/read-only/alice/app"):
        assert (await ask(root, "GET", path)).expect(200).json == {"read_only": False}
        done = await ask(root, "PUT", path, {"read_only": True})
        more: dict[str, Any] = {"not_heeded_by": []} if path == "/read-only" else {}
        assert done.expect(200).json == {"read_only": True} | more
        assert (await ask(root, "GET", path)).json == {"read_only": True}
        refused = await alice.repository("alice/app").request("POST", "blobs/uploads/")
        assert refused.status in {403, 503}
        problem(await ask(alice, "PUT", path, {"read_only": False}), 403, "forbidden")
        problem(await ask(alice, "GET", path), 403, "forbidden")
        (await ask(root, "PUT", path, {"read_only": False})).expect(200)
    await alice.repository("alice/app").start_upload()
    for path in ("/read-only/none", "/read-only/alice/none"):
        problem(await ask(root, "PUT", path, {"read_only": True}), 404, "unknown")
    problem(await ask(root, "GET", "/read-only/No"), 400, "name")
    rows = await filled.connections.rows(EVENTS)
    assert [tuple(row) for row in rows if row.kind.endswith("read_only")] == [
        (f"{kind}.read_only", "root")
        for kind in ("cluster", "cluster", "namespace", "namespace", "repository", "repository")
    ]


async def test_servers_that_do_not_heed_read_only_are_named(filled: Database, root: Client) -> None:
    for name, version in (("old", "0.1.0"), ("new", "0.2.0")):
        record = replace(server(name), version=version)
        await filled.servers.register(record, live_seconds=15, actor=ACTOR)
        await filled.servers.heartbeat(record.server_id)
    done = (await ask(root, "PUT", "/read-only", {"read_only": True})).expect(200).json
    assert done == {"read_only": True, "not_heeded_by": ["name-old"]}


@pytest.mark.usefixtures("filled")
async def test_tokens_are_for_what_they_were_made_for(registry: Running, root: Client) -> None:
    async def with_token(*allow: Any) -> Client:
        terms = TokenTerms("one", frozenset(allow))
        text, _ = await registry.parts.accounts.create_token("root", terms, actor=ACTOR)
        return Client(root.session, root.url, "root", text)

    (await ask(await with_token(TokenScope.API), "GET", "/cluster")).expect(200)
    for allow in (ALL_ACTIONS, {TokenScope.METRICS}, {TokenScope.EVENTS}):
        told = problem(await ask(await with_token(*allow), "GET", "/cluster"), 403, "forbidden")
        assert "--allow api" in told["detail"]
    wrong = Client(root.session, root.url, "root", "a guess at it")
    answer = await ask(wrong, "GET", "/repositories")
    problem(answer, 401, "credentials")
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="treescale"'
    bearer = {"Authorization": f"Bearer {await root.token()}"}
    problem(await root.raw("GET", f"{PREFIX}/cluster", bearer), 401, "credentials")


@pytest.mark.usefixtures("filled")
async def test_head_is_get_without_the_body(root: Client) -> None:
    for path in ("/repositories", "/openapi.json", "/nothing"):
        got = await ask(root, "GET", path)
        head = await ask(root, "HEAD", path)
        assert (head.status, head.body) == (got.status, b"")
        same = re.sub(rb'"request_id":"[^"]*"', b"", got.body)
        assert path == "/nothing" or int(head.headers["Content-Length"]) == len(got.body), same


@pytest.mark.usefixtures("filled")
async def test_a_database_that_is_away_is_said_to_be(registry: Running, root: Client) -> None:
    (await ask(root, "GET", "/repositories")).expect(200)
    Away(registry.parts.database).begin()
    answer = await ask(root, "GET", "/repositories")
    problem(answer, 503, "unavailable")
    assert answer.headers["Retry-After"]
    (await ask(root, "GET", "/openapi.json")).expect(200)


@pytest.mark.usefixtures("filled")
async def test_a_fault_of_ours_is_told_to_nobody_but_the_log(
    root: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("what nobody foresaw")

    monkeypatch.setattr("treescale.console.pages.parse_page_size", broken)
    headers = root.basic() | {"X-Request-Id": "mine"}
    with capture_logs() as lines:
        async with root.session.get(f"{root.url}{PREFIX}/repositories", headers=headers) as got:
            told = json.loads(await got.read())
    assert (got.status, told["type"], told["request_id"]) == (500, TYPE + "internal", "mine")
    assert "foresaw" not in str(told)
    (line,) = [line for line in lines if line["event"] == "request.failed"]
    assert line["request_id"] == "mine"


async def test_an_id_that_no_answer_could_repeat_is_none(registry: Running, alice: Client) -> None:
    """Bytes of a header that are no UTF-8; here, and where the registry names it (503)."""
    Away(registry.parts.database).begin()
    where = urlsplit(registry.url)
    for path, status in ((f"{PREFIX}/nothing", 404), ("/token", 503)):
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        head = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        head += f"Authorization: {alice.basic()['Authorization']}\r\nX-Request-Id: \xff\r\n\r\n"
        writer.write(head.encode("latin-1"))
        answer = await reader.read()
        writer.close()
        assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer


BAD_BODIES: Final = (
    (b"", "", "no JSON"),
    (b"{", "", "no JSON"),
    (b"\xff", "", "UTF-8"),
    (b"[]", "", "expected `object`"),
    (b"null", "", "expected `object`"),
    (b"{}", "read_only", "missing"),
    (b'{"read_only": 1}', "read_only", "expected `bool`"),
    (b'{"read_only": "true"}', "read_only", "expected `bool`"),
    (b'{"read_only": null}', "read_only", "expected `bool`"),
    (b'{"read_only": true, "more": 1}', "more", "unknown field"),
    (b'{"read_only": true, "read_only": false}', "read_only", "twice"),
    (b'{"read_only": NaN}', "", "no JSON"),
    (b"[" * 8000 + b"]" * 8000, "", ""),
    (b'{"read_only": true} x', "", "no JSON"),
    (rb'{"read_only": true, "\ud800": 1}', "", "UTF-8"),
    (rb'{"read_only": "\ud800"}', "", "UTF-8"),
    (rb'{"\ud800": true, "\ud800": true}', "", "UTF-8"),
    (b'{"read_only": ' + b"9" * 30 + b"}", "read_only", "expected `bool`"),
    (b'{"read_only": 1e999}', "read_only", "expected `bool`"),
    (b'{"read_only": ' + b"9" * 5000 + b"}", "", "no JSON"),
)


async def test_a_body_that_is_wrong_is_refused_by_its_field(filled: Database, root: Client) -> None:
    for data, field, says in BAD_BODIES:
        answer = await root.raw("PUT", f"{PREFIX}/read-only", root.basic() | JSON, data)
        told = problem(answer, 400, "field")
        assert told.get("field", "") == field, data[:50]
        assert says.lower() in told["detail"].lower(), told
    assert not await filled.read_only.cluster()


@pytest.mark.usefixtures("filled")
async def test_a_parameter_that_is_wrong_is_called_one(root: Client) -> None:
    """And no field of a body, which a GET has none of."""
    for path, parameter in (
        ("/repositories?begin=%C3%A9", "begin"),
        ("/search?q=", "q"),
        ("/search?q=%C3%A9", "q"),
        ("/repositories/root%2Fbase/images?order=size", "order"),
        (f"/repositories/root%2Fbase/images?filter={'x' * 1000}", "filter"),
    ):
        told = problem(await root.raw("GET", f"{PREFIX}{path}", root.basic()), 400, "parameter")
        assert (told["field"], told["title"]) == (parameter, "A parameter of the query is wrong")


@pytest.mark.usefixtures("filled")
async def test_requests_that_do_not_fit_are_refused_as_what_they_are(root: Client) -> None:
    put = b'{"read_only": true}'
    rows: tuple[tuple[str, str, dict[str, str], bytes | None, int, str], ...] = (
        ("GET", "/", {}, None, 404, "unknown"),
        ("GET", "/nothing", {}, None, 404, "unknown"),
        ("GET", "/repositories/", {}, None, 404, "unknown"),
        ("GET", "/%zz", {}, None, 404, "unknown"),
        ("GET", "/%ff", {}, None, 400, "request"),
        ("POST", "/read-only", JSON, put, 405, "method"),
        ("DELETE", "/cluster", {}, None, 405, "method"),
        ("PUT", "/read-only", {}, put, 415, "media-type"),
        ("PUT", "/read-only", {"Content-Type": "text/plain"}, put, 415, "media-type"),
        ("PUT", "/read-only", JSON | {"Content-Encoding": "gzip"}, put, 415, "media-type"),
        ("PUT", "/read-only", JSON, b" " * (BODY_BYTES_MAX + 1), 413, "too-large"),
        ("GET", "/cluster", JSON, b"{}", 400, "request"),
        ("GET", "/cluster?page=1", {}, None, 400, "request"),
        ("GET", "/repositories?n=1&n=2", {}, None, 400, "request"),
        ("GET", "/repositories?n=0", {}, None, 400, "page"),
        ("GET", "/repositories?n=-1", {}, None, 400, "page"),
        ("GET", "/repositories?n=ten", {}, None, 400, "page"),
        ("GET", "/repositories?after=%00", {}, None, 400, "request"),
        ("GET", "/repositories?after=%ff", {}, None, 400, "request"),
        ("GET", "/repositories?last=alice", {}, None, 400, "request"),
        ("GET", "/repositories/UPPER/case", {}, None, 400, "name"),
        ("GET", "/repositories/alice", {}, None, 400, "name"),
        ("GET", "/repositories/alice/../bob", {}, None, 400, "name"),
    )
    for method, path, headers, data, status, name in rows:
        answer = await root.raw(method, PREFIX + path, root.basic() | headers, data)
        assert problem(answer, status, name), path
        if status == 405:
            assert answer.headers["Allow"] in {"GET, PUT, HEAD", "GET, HEAD"}
    for path in ("/api/", "/api/v2/cluster", "/api/v1"):
        problem(await root.raw("GET", path, root.basic()), 404, "unknown")


@pytest.mark.usefixtures("filled")
async def test_no_request_makes_it_fail(registry: Running, root: Client) -> None:
    """Every method at every route, with names, queries and bodies that nobody would send.

    A method that a path does not have is refused before the rest is looked at: once is enough. In a
    hurry each route has some of the names, and each name is sent to some of the routes.
    """
    words = ("a", "a/b", "%00", "%2e%2e", "a%2Fb", "é".encode().hex(), "x" * 2000, "alice/app")
    queries = ("", "?", "?n", "?n=1&after", "?=&=", "?%", "?n=%ff", "?" + "a=b&" * 100)
    bodies = (None, b"", b"{}", b"[]", b'{"read_only":{}}', b"\x00", b'"' + b"\\" * 99)
    methods = ("GET", "PUT", "POST", "DELETE", "PATCH", "TRACE")
    theirs = {(route.path, route.method) for route in routes_of(registry)}
    for first, template in enumerate(sorted({path for path, _ in theirs})):
        for number in (each % len(words) for each in range(first, first + examples(len(words)))):
            path = PREFIX + re.sub(r"\{\w+\}", words[number], template) + queries[number]
            for step, method in enumerate(methods):
                if (template, method) not in theirs and number != step:
                    continue
                data = bodies[(number + step) % len(bodies)] if method != "TRACE" else None
                answer = await root.raw(method, path, root.basic() | JSON, data)
                assert answer.status < 500, (method, path, answer.body)


def routes_of(registry: Running) -> list[ApiRoute]:
    parts = registry.parts
    return [*api_routes(parts.database, parts.clock, registry.live, passwords=parts.passwords)]


async def test_the_document_is_one_of_openapi_3_1(anybody: Client) -> None:
    document = (await ask(anybody, "GET", "/openapi.json")).expect(200).json
    Draft202012Validator(META).validate(document)
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    assert document["paths"][f"{PREFIX}/repositories"]["get"]["parameters"]
    operations = [one for path in document["paths"].values() for one in path.values()]
    identities = [one["operationId"] for one in operations]
    assert len(identities) == len({*identities})


@pytest.mark.usefixtures("filled")
async def test_answers_are_as_the_document_says(
    registry: Running, root: Client, anybody: Client
) -> None:
    document = (await ask(anybody, "GET", "/openapi.json")).json
    assert {(path, method) for path, each in document["paths"].items() for method in each} == {
        (PREFIX + row.path, row.method.lower()) for row in routes_of(registry)
    }
    problems = document["components"]["schemas"]["ProblemDetails"]
    there = {"delivery": "1", "user": "bob", "setting": "hooks", "target": STORE.store_id}
    made = await ask(root, "POST", "/hooks", json.loads(EXAMPLES["NewHook"]))
    there["hook"] = made.expect(200).json["hook"]["id"]
    database = registry.parts.database
    await database.stores.register(STORE)
    made = await ask(root, "POST", "/jobs", json.loads(EXAMPLES["NewJob"]))
    there["job"] = made.expect(200).json["job"]
    made = await ask(root, "POST", "/tokens", json.loads(EXAMPLES["NewToken"]) | {"name": "x"})
    there["token"] = made.expect(200).json["token"]["id"]
    (await ask(root, "POST", f"/hooks/{there['hook']}/ping")).expect(200)
    await database.organisations.add("acme", "root", actor="root")
    await database.organisations.grant("alice", "root", role="owner", repository="*", actor=ACTOR)
    there |= await robot_of(root)
    await database.repositories.set_public("alice/gone", public=False, now=1.0, actor="root")
    await database.repositories.delete("alice/gone", actor="root")
    there |= {"provider": "corp"} | await people_of_root(root, database)
    for row in routes_of(registry):
        if row.who is Who.ANYBODY:
            continue
        if re.match(
            "/(repositories|copies|moves|restorations|visibility|read-only|descr)", row.path
        ):
            there["digest"] = await there_again(root, row)
        await database.stores.register(STORE)
        await database.connections.change(update(stores).values(seen=0.0), {})
        operation = document["paths"][PREFIX + row.path][row.method.lower()]
        path, body = await request_of(root, row, there)
        answer = await ask(root, row.method, path, body)
        content = operation["responses"]["200"]["content"]["application/json"]["schema"]
        validate(answer.expect(200).json, content, document)
        validate((await ask(anybody, row.method, row.path, body)).json, problems, document)


async def robot_of(root: Client) -> dict[str, str]:
    """Make a robot with a rule; return what stands for them in paths."""
    for path, body in (
        ("/issuers", json.loads(EXAMPLES["NewIssuer"])),
        ("/organisations/acme/robots", {"name": "ci"}),
    ):
        (await ask(root, "POST", path, body)).expect(200)
    path = "/organisations/acme/robots/ci/rules"
    made = (await ask(root, "POST", path, json.loads(EXAMPLES["NewTrustRule"]))).expect(200).json
    return {"robot": "ci", "rule": made["rule"]["id"], "issuer": "https%3A%2F%2Fissuer.example"}


async def request_of(root: Client, row: ApiRoute, there: dict[str, str]) -> tuple[str, Any]:
    """Return a path, with its query, and a body that the route takes."""
    path = filled_in(row.path, there)
    body: Any = None if row.takes is None else json.loads(EXAMPLES[row.takes.__name__])
    if row.takes is Confirmation:
        body["confirmed_digest"] = (await ask(root, "GET", path)).json["digest"]
    elif row.path.startswith("/rules") and row.method == "DELETE":
        path += f"?rule={(await ask(root, 'GET', path)).json['rules'][-1]['rule']}"
    elif row.path.startswith("/explain") or row.path.endswith("/spread"):
        path += "?tag=latest"
    elif row.path == "/search":
        path += "?q=app"
    return path, body


async def people_of_root(root: Client, database: Database) -> dict[str, str]:
    """Have root be signed in, come by a provider, and have invited somebody."""
    made = await ask(root, "POST", "/invitations", {"name": "erin"})
    begun = Session("s", "secret", "root", "", "here", "a browser", *3 * (SystemClock().now(),))
    user = await database.users.get("root")
    await Sessions(database.connections).add(begun, generation=user.generation)
    identity = Identity("i", "https://other", "1", "root", "corp", "", 0.0, 0.0)
    await database.connections.write(partial(link_identity, identity=identity, actor="root"))
    return {"session": "s", "identity": "i", "invitation": made.expect(200).json["id"]}


async def there_again(root: Client, row: ApiRoute) -> str:
    """Push what rows before may have deleted; return the digest. Some want it deleted."""
    for name in ("alice/app", "alice/tools"):
        await root.repository(name).push_image("latest", LAYER)
    digest = (await root.repository("alice/app").head("manifests/latest")).headers
    if row.path == "/restorations":
        (await ask(root, "DELETE", "/repositories/alice%2Fapp")).expect(200)
    return digest["Docker-Content-Digest"]


def filled_in(path: str, there: dict[str, str]) -> str:
    """Return a path with what stands for its parameters."""
    if path.startswith("/organisations"):
        values = {**there, "name": "acme", "user": "alice"}
    elif path.startswith(("/quotas", "/usage")):
        values = {"name": "alice"}
    else:
        name = "workers" if "/groups/" in path else "alice/app"
        values = {**there, "name": name, "tag": "latest", "reference": "latest"}
    return re.sub(r"\{(\w+)\}", lambda found: values[found[1]], path)


def validate(value: object, schema: dict[str, Any], document: dict[str, Any]) -> None:
    """Raise ValidationError unless the value is as the document's schema says.

    That the schemas are ones, test_the_document_is_one_of_openapi_3_1 asks once.
    """
    whole = {**schema, "components": document["components"]}
    for error in Draft202012Validator(whole).iter_errors(value):
        raise error


def test_an_answer_that_is_not_as_it_says_would_be_noticed() -> None:
    schema = {"type": "object", "properties": {"read_only": {"type": "boolean"}}}
    with pytest.raises(jsonschema.ValidationError):
        validate({"read_only": 1}, schema, {"components": {}})


async def test_the_page_on_it_knows_every_route_and_problem(registry: Running) -> None:
    table = re.findall(rf"^\| ([A-Z, ]+) \| `{PREFIX}(/[^`?]*)[^`]*` \|", PAGE, re.MULTILINE)
    documented = {(method, path) for methods, path in table for method in methods.split(", ")}
    rows = {(row.method, re.sub(r"\{(\w+)\}", r"<\1>", row.path)) for row in routes_of(registry)}
    assert documented == rows
    for one in {*PROBLEMS.values()}:
        assert f"`{one.name}`" in PAGE, one.name

"""Web pages of other origins: none by default, and those that are named as browsers expect."""

import pytest

from tests.api.client import Client, Repository
from tests.tables import each_row
from treescale.http.cors import Cors

UI, OTHER = "https://ui.example", "https://other.example"
NAMED = Cors(frozenset({UI, "http://localhost:8080"}))
PATHS = (
    "/v2/",
    "/v2/_catalog",
    "/v2/alice/app/manifests/t",
    "/v2/alice/app/blobs/uploads/",
    "/token",
)
PREFLIGHT = {
    "Access-Control-Request-Method": "GET",
    "Access-Control-Request-Headers": "authorization",
}
ALLOWED = "Access-Control-Allow-Origin"

named = pytest.mark.parametrize("cors", [NAMED])
everybody = pytest.mark.parametrize("cors", [Cors(frozenset({"*"}))])


def words(text: str) -> set[str]:
    return {word.strip().lower() for word in text.split(",")}


@pytest.mark.parametrize("path", PATHS)
async def test_nobody_unless_named(anybody: Client, path: str) -> None:
    answer = await anybody.raw("OPTIONS", path, {"Origin": UI, **PREFLIGHT})
    assert answer.status in (401, 405)
    assert ALLOWED not in answer.headers
    assert "Vary" not in answer.headers
    answer = await anybody.raw("GET", path, {"Origin": UI})
    assert ALLOWED not in answer.headers


@named
@each_row("path", PATHS)
@each_row("origin", sorted(NAMED.origins))
async def test_a_browser_asks_first(anybody: Client, path: str, origin: str) -> None:
    answer = await anybody.raw("OPTIONS", path, {"Origin": origin, **PREFLIGHT})
    answer.expect(204)
    assert answer.headers[ALLOWED] == origin
    assert answer.headers["Vary"] == "Origin"
    methods = words(answer.headers["Access-Control-Allow-Methods"])
    assert methods == {"get", "head", "post", "put", "patch", "delete"}
    asked = words(answer.headers["Access-Control-Allow-Headers"])
    assert {"authorization", "accept", "content-type", "content-range", "range"} <= asked
    assert {"if-match", "if-none-match"} <= asked
    assert int(answer.headers["Access-Control-Max-Age"]) > 0
    assert "Access-Control-Allow-Credentials" not in answer.headers


@named
@pytest.mark.parametrize(
    "origin", [OTHER, "null", UI + ".evil.example", "http://ui.example", UI + ":1"]
)
async def test_others_read_nothing(anybody: Client, origin: str) -> None:
    for path in PATHS:
        answer = await anybody.raw("OPTIONS", path, {"Origin": origin, **PREFLIGHT})
        assert answer.status in (401, 405)
        assert ALLOWED not in answer.headers
        assert answer.headers["Vary"] == "Origin", "a cache must not give it to others"
        answer = await anybody.raw("GET", path, {"Origin": origin})
        assert ALLOWED not in answer.headers


@named
async def test_every_answer_can_be_read(alice: Client, anybody: Client) -> None:
    """Those that refuse too, with where to log in; and those that leave in pieces."""
    repository = Repository(alice, "alice/app")
    origin = {"Origin": UI}
    blob = b"x" * 3_000_000
    name = await repository.push_blob(blob)
    await repository.push_image("t", b"layer")
    answers = [
        (await anybody.raw("GET", "/v2/", origin)).expect(401),
        (await anybody.raw("GET", "/token", origin)).expect(200),
        (await anybody.raw("GET", "/token", {**origin, "Authorization": "Basic eDp5"})).expect(401),
        (await repository.request("GET", f"blobs/{name}", headers=origin)).expect(200),
        (await repository.request("HEAD", f"blobs/{name}", headers=origin)).expect(200),
        (await repository.request("GET", "manifests/t", headers=origin)).expect(200),
        (await repository.request("GET", "manifests/.x", headers=origin)).expect(404),
        (await repository.request("GET", "tags/list?n=1", headers=origin)).expect(200),
        (await repository.request("POST", "blobs/uploads/", headers=origin)).expect(202),
        (await repository.request("PUT", "tags/list", headers=origin)).expect(405),
    ]
    for answer in answers:
        assert answer.headers[ALLOWED] == UI
        shown = words(answer.headers["Access-Control-Expose-Headers"])
        assert {"docker-content-digest", "link", "location", "www-authenticate"} <= shown
        assert {"range", "content-range", "etag", "docker-upload-uuid"} <= shown
        assert "Access-Control-Allow-Credentials" not in answer.headers
    without = await repository.request("GET", "manifests/t")
    assert ALLOWED not in without.headers
    assert without.headers["Vary"] == "Origin"


@named
async def test_what_is_no_preflight_is_an_ordinary_request(alice: Client, anybody: Client) -> None:
    for headers in ({"Origin": UI}, PREFLIGHT, {}):
        (await anybody.raw("OPTIONS", "/v2/", headers)).expect(401)
    (await alice.repository("alice/app").request("OPTIONS", "manifests/t")).expect(405)


@everybody
async def test_all_may(anybody: Client) -> None:
    for origin in (UI, "null"):
        answer = await anybody.raw("OPTIONS", "/v2/", {"Origin": origin, **PREFLIGHT})
        assert answer.expect(204).headers[ALLOWED] == "*"
        assert "Vary" not in answer.headers

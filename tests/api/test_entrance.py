"""The door: `/v2/`, the challenge on every URL, and what is not for us at all."""

import asyncio
import re
from urllib.parse import urlsplit

import pytest

from tests.api.client import CATALOG, Client
from tests.tables import each_row

SHA = "sha256:" + "a" * 64
URLS = [
    "/v2/",
    "/v2",
    "/v2/_catalog",
    "/v2/alice/app/manifests/latest",
    f"/v2/alice/app/manifests/{SHA}",
    f"/v2/alice/app/blobs/{SHA}",
    "/v2/alice/app/blobs/uploads/",
    "/v2/alice/app/blobs/uploads/some-upload",
    "/v2/alice/app/tags/list",
    f"/v2/alice/app/referrers/{SHA}",
    "/v2/alice/app/nothing/here",
]
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"]
CHALLENGE = re.compile(
    r'Bearer realm="http://([^"]+)/token",service="([^"]+)"(?:,scope="([^"]+)")?'
)


def netloc(client: Client) -> str:
    return urlsplit(client.url).netloc


@each_row("method", METHODS)
async def test_everything_challenges_the_anonymous(
    anybody: Client, method: str, subtests: pytest.Subtests
) -> None:
    """Some clients never ask /v2/ but start on the real URL (wire.md, "Login")."""
    for url in URLS:
        with subtests.test(url=url):
            await challenges(anybody, method, url)


async def challenges(anybody: Client, method: str, url: str) -> None:
    answer = await anybody.raw(method, url)
    answer.expect(401)
    challenge = CHALLENGE.fullmatch(answer.headers["WWW-Authenticate"])
    assert challenge is not None
    assert challenge[1] == challenge[2] == netloc(anybody)
    if "/alice/app/" in url and "nothing" not in url:
        assert challenge[3].startswith("repository:alice/app:pull")
    elif url == "/v2/_catalog":
        assert challenge[3] == CATALOG
    else:
        assert challenge[3] is None


@pytest.mark.parametrize(
    "path",
    ["alice/app/blobs/x", "a/b/blobs/uploads/!"],
)
async def test_what_cannot_be_a_name_challenges_the_anonymous_too(
    anybody: Client, alice: Client, path: str
) -> None:
    answer = (await anybody.raw("GET", f"/v2/{path}")).expect(401, "UNAUTHORIZED")
    assert CHALLENGE.fullmatch(answer.headers["WWW-Authenticate"]) is not None
    assert (await alice.request("GET", f"/v2/{path}", scopes=())).status in (400, 404)


@each_row(
    ("method", "path", "actions"),
    [
        ("GET", "manifests/latest", "pull"),
        ("HEAD", f"blobs/{SHA}", "pull"),
        ("GET", "tags/list", "pull"),
        ("PUT", "manifests/latest", "pull,push"),
        ("POST", "blobs/uploads/", "pull,push"),
        ("PATCH", "blobs/uploads/x", "pull,push"),
        ("DELETE", "blobs/uploads/x", "pull,push"),
        ("DELETE", "manifests/latest", "pull,delete"),
        ("DELETE", f"blobs/{SHA}", "pull,delete"),
    ],
)
async def test_the_challenge_names_what_is_needed(
    anybody: Client, method: str, path: str, actions: str
) -> None:
    answer = await anybody.raw(method, f"/v2/alice/app/{path}")
    challenge = CHALLENGE.fullmatch(answer.headers["WWW-Authenticate"])
    assert challenge is not None
    assert challenge[3] == f"repository:alice/app:{actions}"


@pytest.mark.parametrize("url", ["/v2/", "/v2"])
async def test_who_is_known_may_enter(alice: Client, url: str) -> None:
    for answer in (await alice.request("GET", url), await alice.raw("GET", url, alice.basic())):
        assert answer.expect(200).json == {}
        assert answer.headers["Content-Type"] == "application/json"
    (await alice.request("HEAD", url)).expect(200)


@each_row(
    "host", ["registry.example", "registry.example:8443", "[2001:db8::1]:5000", "10.1.2.3:5000"]
)
async def test_the_realm_is_where_the_client_found_us(anybody: Client, host: str) -> None:
    answer = await anybody.raw("GET", "/v2/", {"Host": host})
    challenge = f'Bearer realm="http://{host}/token",service="{host}"'
    assert answer.expect(401).headers["WWW-Authenticate"] == challenge


@each_row("host", ['evil"x', "a b", "host/path", "user@host", "host,other", ""])
async def test_a_host_that_is_none_is_not_repeated(anybody: Client, host: str) -> None:
    answer = await anybody.raw("GET", "/v2/", {"Host": host})
    if answer.status == 401:
        challenge = CHALLENGE.fullmatch(answer.headers["WWW-Authenticate"])
        assert challenge is not None
        assert challenge[1] == netloc(anybody)
    else:
        answer.expect(400)


async def test_strangers_cannot_move_the_realm(anybody: Client) -> None:
    headers = {
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "https",
        "Forwarded": "host=evil.example;proto=https",
    }
    answer = await anybody.raw("GET", "/v2/", headers)
    assert "evil" not in answer.headers["WWW-Authenticate"]
    assert "https" not in answer.headers["WWW-Authenticate"]


@each_row(
    "authorization",
    [
        "Bearer",
        "Bearer x",
        "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9.",
        "Bearer \u00fc",
        "Basic",
        "Basic x",
        "Basic YWxpY2U=",
        "Basic YWxpY2U6d3Jvbmc=",
        "Digest username=alice",
        "Negotiate x",
        "",
    ],
)
async def test_credentials_that_prove_nothing(anybody: Client, authorization: str) -> None:
    for url in ("/v2/", "/v2/alice/app/tags/list"):
        answer = (await anybody.raw("GET", url, {"Authorization": authorization})).expect(401)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
        assert "sub" not in answer.body.decode()


async def test_a_wrong_password_and_an_unknown_user_get_the_same(alice: Client) -> None:
    bodies = set()
    for user in (alice.user, "nobody", "NOT A NAME"):
        stranger = Client(alice.session, alice.url, user, "wrong")
        answer = (await stranger.raw("GET", "/v2/", stranger.basic())).expect(401, "UNAUTHORIZED")
        bodies.add((answer.body, answer.headers["WWW-Authenticate"]))
    assert len(bodies) == 1


async def test_what_is_not_here(anybody: Client, subtests: pytest.Subtests) -> None:
    for path in ("v1/x", "v1/_catalog", "favicon.ico", ".git/config", "token/", "v3/", "*", "/x"):
        with subtests.test(path=path):
            assert (await anybody.raw("GET", f"/{path}")).expect(404).json["errors"]


async def test_what_is_not_in_the_registry_api(alice: Client) -> None:
    for path in ("/v2/x", "/v2/alice/app/other/x", "/v2/alice/app/tags"):
        (await alice.request("GET", path)).expect(404)


@each_row(
    "name",
    [
        "A/b",
        "a/b..c",
        "a//b",
        "a/%2e%2e/b",
        "a/..%00",
        "a%252Fb/c",
        "a/b%0A",
        "a/" + "b" * 300,
    ],
)
async def test_names_that_are_none(alice: Client, name: str) -> None:
    for path in ("tags/list", "manifests/latest", f"blobs/{SHA}"):
        answer = await alice.request("GET", f"/v2/{name}/{path}", scopes=())
        answer.expect(400, "NAME_INVALID")


async def test_a_name_without_a_user_is_denied_with_advice(alice: Client) -> None:
    (await alice.raw("GET", "/v2/single/tags/list")).expect(401, "UNAUTHORIZED")
    answer = await alice.request("POST", "/v2/single/blobs/uploads/", scopes=())
    assert "USERNAME/single" in answer.expect(403, "DENIED").json["errors"][0]["message"]


@each_row("method", ["POST", "PUT", "PATCH", "OPTIONS"])
async def test_methods_a_route_does_not_have(alice: Client, method: str) -> None:
    repository = alice.repository("alice/app")
    (await repository.request(method, "tags/list")).expect(405, "UNSUPPORTED")
    (await alice.request(method, "/v2/")).expect(405, "UNSUPPORTED")


async def test_names_made_of_the_words_of_routes(alice: Client) -> None:
    for name in ("alice/manifests/latest", "alice/blobs/uploads", "alice/tags/list", "alice/v2"):
        repository = alice.repository(name)
        await repository.push_image("tags", b"layer")
        assert (await repository.get("tags/list")).expect(200).json == {
            "name": name,
            "tags": ["tags"],
        }
        (await repository.get("manifests/tags")).expect(200)


class TestTlsOnThePlainPort:
    @pytest.mark.parametrize(
        "hello", [b"\x16", b"\x16\x03\x01", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"]
    )
    async def test_it_is_turned_away_at_the_first_byte(self, anybody: Client, hello: bytes) -> None:
        """A server that waits for more stalls dockerd, skopeo, podman and crane by 10 s."""
        address = urlsplit(anybody.url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(hello)
        async with asyncio.timeout(5):
            answer = await reader.read()
        writer.close()
        assert b"\x16" not in answer
        if answer:
            head, _, body = answer.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 400 ")
            assert f"content-length: {len(body)}".encode() in head.lower()

    async def test_the_port_goes_on_serving(self, anybody: Client) -> None:
        address = urlsplit(anybody.url)
        for _ in range(20):
            _, writer = await asyncio.open_connection(address.hostname, address.port)
            writer.write(b"\x16\x03\x01")
            writer.close()
        (await anybody.raw("GET", "/v2/")).expect(401)


async def test_a_connection_per_request(alice: Client) -> None:
    """As dockerd 20.10 does."""
    for _ in range(20):
        answer = await alice.request("GET", "/v2/", headers={"Connection": "close"})
        assert answer.expect(200).headers["Connection"] == "close"


async def test_health(anybody: Client) -> None:
    for path in ("/healthz", "/readyz"):
        (await anybody.raw("GET", path)).expect(200)

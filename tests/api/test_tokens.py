"""The token service as its clients use it, and what its tokens open."""

from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest
from multidict import CIMultiDict

from tests.api.client import CATALOG, Answer, Client
from tests.api.running import Running
from tests.contracts.metadata_values import ACTOR
from tests.oci.documents import digest
from tests.tables import each_row
from treescale.auth.scopes import Action
from treescale.registry.accounts import TokenTerms

FORM = "application/x-www-form-urlencoded; charset=utf-8"


async def post(client: Client, **fields: str) -> Answer:
    headers = {"Content-Type": FORM}
    return await client.raw("POST", "/token", headers, urlencode(fields).encode())


def expect_token(answer: Answer) -> str:
    """Check the answer as oras, docker and containerd read it; return the token."""
    found = answer.expect(200).json
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert found["token"] == found["access_token"]
    assert found["expires_in"] >= 60
    issued = datetime.fromisoformat(found["issued_at"])
    assert issued.tzinfo is not None
    assert issued.astimezone(UTC).year >= 2020
    assert len(answer.body) < 1024 * 1024
    return str(found["token"])


async def opens(client: Client, token: str, method: str, path: str) -> int:
    return (await client.raw(method, path, {"Authorization": f"Bearer {token}"})).status


class TestGet:
    async def test_login_without_a_scope(self, alice: Client) -> None:
        answer = await alice.ask_token(account="alice", client_id="docker", offline_token="true")
        token = expect_token(answer)
        assert await opens(alice, token, "GET", "/v2/") == 200
        assert await opens(alice, token, "GET", "/v2/alice/app/tags/list") == 401

    @each_row("client_id", ["docker", "registry-client", "containerd-client", ""])
    async def test_a_login_that_keeps_the_password_gets_no_refresh_token(
        self, alice: Client, client_id: str
    ) -> None:
        """It would take the password's place in docker's file, where others look for that."""
        asked = {"client_id": client_id} if client_id else {}
        answer = await alice.ask_token(account="alice", offline_token="true", **asked)
        assert "refresh_token" not in answer.expect(200).json

    async def test_a_plus_between_scopes_is_a_blank(self, alice: Client) -> None:
        scopes = "repository:alice/a:pull,push+repository:alice/b:pull%2Cpush"
        for query in (f"scope={scopes}", f"&&scope={scopes}&", f"scope={scopes}&scope={scopes}"):
            answer = await alice.raw("GET", f"/token?{query}", alice.basic())
            granted = answer.expect(200).json["scope"].split()
            assert granted == ["repository:alice/a:pull,push", "repository:alice/b:pull,push"]

    @pytest.mark.parametrize("length", [30, 255])
    async def test_sixty_scopes_are_fine(self, alice: Client, length: int) -> None:
        names = [f"alice/{'x' * (length - 8)}{number:02}" for number in range(60)]
        answer = await alice.ask_token(*(f"repository:{name}:pull,push" for name in names))
        token = expect_token(answer)
        for name in (names[0], names[-1]):
            assert await opens(alice, token, "POST", f"/v2/{name}/blobs/uploads/") == 202

    @each_row(
        "presented",
        ["Bearer x.y.z", "Basic", "Basic !", "Digest x", "Negotiate", "x", "", "alice:password"],
    )
    async def test_credentials_that_are_not_understood_are_not_passed_over(
        self, alice: Client, presented: str
    ) -> None:
        """Whoever presents them would wonder why nothing but what is public opens."""
        headers = {"Authorization": presented}
        for method, url in (("GET", "/token"), ("GET", "/v2/"), ("GET", "/v2/alice/app/tags/list")):
            answer = await alice.raw(method, url, headers)
            answer.expect(401, "UNAUTHORIZED")
            assert answer.headers["WWW-Authenticate"]
        form = urlencode(
            {"grant_type": "password", "username": "alice", "password": alice.password}
        )
        headers["Content-Type"] = FORM
        (await alice.raw("POST", "/token", headers, form.encode())).expect(401, "UNAUTHORIZED")

    async def test_two_kinds_of_credentials_at_once_are_refused(self, alice: Client) -> None:
        token = await alice.token()
        both = CIMultiDict([("Authorization", f"Bearer {token}"), *alice.basic().items()])
        for url in ("/token", "/v2/"):
            async with alice.session.get(f"{alice.url}{url}", headers=both) as answer:
                assert answer.status == 401

    async def test_the_wrong_password(self, alice: Client) -> None:
        bodies = set()
        for user in ("alice", "nobody", "", "a\nb"):
            stranger = Client(alice.session, alice.url, user, "wrong")
            answer = await stranger.raw("GET", "/token", stranger.basic())
            bodies.add(answer.expect(401, "UNAUTHORIZED").body)
        assert len(bodies) == 1

    async def test_several_scopes_however_they_are_spelled(self, alice: Client) -> None:
        first, second = "repository:alice/a:pull,push", "repository:alice/b:push,pull"
        for scopes in ((first, second), (f"{first} {second}",)):
            token = expect_token(await alice.ask_token(*scopes))
            for name in ("a", "b"):
                path = f"/v2/alice/{name}/blobs/uploads/"
                assert await opens(alice, token, "POST", path) == 202
            assert await opens(alice, token, "POST", "/v2/alice/c/blobs/uploads/") == 401

    async def test_what_is_not_allowed_is_left_out_without_an_error(
        self, alice: Client, bob: Client
    ) -> None:
        await alice.repository("alice/secret").push_image("latest", b"layer")
        token = expect_token(
            await bob.ask_token("repository:alice/secret:pull", "repository:bob/own:pull,push")
        )
        assert await opens(bob, token, "GET", "/v2/alice/secret/manifests/latest") == 401
        assert await opens(bob, token, "POST", "/v2/bob/own/blobs/uploads/") == 202

    async def test_the_anonymous_get_no_refresh_token(self, anybody: Client) -> None:
        answer = await anybody.ask_token(offline_token="true")
        assert "refresh_token" not in answer.expect(200).json

    async def test_scopes_that_ask_for_nothing(
        self, alice: Client, subtests: pytest.Subtests
    ) -> None:
        for scope in (
            "",
            "x",
            "repository",
            "repository:",
            "repository::",
            "repository:alice/app",
            "a:b:c",
            "repository:alice/app:fly",
            "repository:../x:pull",
            "registry:catalog:pull",
            "registry:other:*",
            "::::",
            " ",
        ):
            with subtests.test(scope=scope):
                token = expect_token(await alice.ask_token(scope))
                assert await opens(alice, token, "GET", "/v2/alice/app/tags/list") == 401

    async def test_the_catalog(self, alice: Client, anybody: Client) -> None:
        for client in (alice, anybody):
            answer = await client.ask_token(CATALOG, "repository:alice/app:fly")
            assert answer.expect(200).json["scope"] == CATALOG
            token = expect_token(answer)
            assert await opens(client, token, "GET", "/v2/_catalog") == 200
            assert await opens(client, token, "GET", "/v2/alice/app/tags/list") == 401
        answer = await alice.ask_token("repository:alice/app:pull")
        assert CATALOG not in answer.json["scope"]

    async def test_too_many_scopes(self, alice: Client) -> None:
        scopes = [f"repository:alice/a{number}:pull" for number in range(65)]
        (await alice.ask_token(*scopes)).expect(400)

    async def test_the_service_asked_for_does_not_matter(self, alice: Client) -> None:
        url = "/token?service=evil.example&scope=repository:alice/app:pull"
        token = expect_token(await alice.raw("GET", url, alice.basic()))
        assert await opens(alice, token, "GET", "/v2/alice/app/tags/list") == 404


class TestPost:
    async def test_password_grant(self, alice: Client) -> None:
        """As containerd and BuildKit begin."""
        answer = await post(
            alice,
            grant_type="password",
            service="registry",
            client_id="containerd-client",
            username="alice",
            password=alice.password,
            scope="repository:alice/app:pull,push repository:alice/other:pull",
        )
        token = expect_token(answer)
        assert await opens(alice, token, "POST", "/v2/alice/app/blobs/uploads/") == 202
        assert await opens(alice, token, "POST", "/v2/alice/other/blobs/uploads/") == 401
        assert "refresh_token" not in answer.json

    async def test_refresh_grant(self, alice: Client) -> None:
        """As docker goes on after a login with a server of 0.1.0."""
        refresh = await alice.refresh_token()
        answer = await post(
            alice,
            grant_type="refresh_token",
            service="registry",
            client_id="docker",
            refresh_token=refresh,
            scope="repository:alice/app:push,pull",
        )
        token = expect_token(answer)
        assert await opens(alice, token, "POST", "/v2/alice/app/blobs/uploads/") == 202

    async def test_offline_access(self, alice: Client) -> None:
        answer = await post(
            alice,
            grant_type="password",
            username="alice",
            password=alice.password,
            access_type="offline",
        )
        again = await post(
            alice, grant_type="refresh_token", refresh_token=answer.json["refresh_token"]
        )
        expect_token(again)

    @pytest.mark.parametrize("client_id", ["docker", "Docker", "containerd-client"])
    async def test_clients_that_write_docker_s_file_get_none(
        self, alice: Client, client_id: str
    ) -> None:
        """Docker, and nerdctl, which has containerd's name."""
        answer = await post(
            alice,
            grant_type="password",
            username="alice",
            password=alice.password,
            client_id=client_id,
            access_type="offline",
        )
        expect_token(answer)
        assert "refresh_token" not in answer.json

    async def test_nothing_between_two_ands_is_nothing(self, alice: Client) -> None:
        """And a scope may be a field of its own, or one of several in a field."""
        login = urlencode({"username": "alice", "password": alice.password})
        scopes = "&".join(f"scope=repository:alice/{n}:pull" for n in range(60))
        body = f"&grant_type=password&&{login}&{scopes}&scope=repository:bob/x:pull+x&"
        answer = await alice.raw("POST", "/token", {"Content-Type": FORM}, body.encode())
        expect_token(answer)
        assert len(answer.json["scope"].split()) == 60

    @pytest.mark.parametrize("password", ["wrong", "", "x" * 10_000])
    async def test_the_wrong_password(self, alice: Client, password: str) -> None:
        answer = await post(alice, grant_type="password", username="alice", password=password)
        answer.expect(401, "UNAUTHORIZED")

    @pytest.mark.parametrize("refresh", ["", "x", "a.b.c"])
    async def test_the_wrong_refresh_token(self, alice: Client, refresh: str) -> None:
        (await post(alice, grant_type="refresh_token", refresh_token=refresh)).expect(401)

    async def test_forms_that_are_none(self, alice: Client, subtests: pytest.Subtests) -> None:
        for body in (
            b"",
            b"grant_type",
            b"grant_type=magic",
            b"\xff=\xff",
            b"grant_type=password&&&=",
            b"%zz=%",
            b"&".join([b"a=b"] * 1000),
        ):
            with subtests.test(body=body):
                answer = await alice.raw("POST", "/token", {"Content-Type": FORM}, body)
                assert answer.status in (400, 401)

    async def test_other_types_of_body(self, alice: Client) -> None:
        headers = {"Content-Type": "application/json"}
        answer = await alice.raw("POST", "/token", headers, b'{"grant_type":"password"}')
        assert answer.status in (400, 415)

    async def test_a_form_that_is_too_long(self, alice: Client) -> None:
        body = b"grant_type=password&username=" + b"a" * 70_000
        (await alice.raw("POST", "/token", {"Content-Type": FORM}, body)).expect(413)

    @pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
    async def test_other_methods(self, alice: Client, method: str) -> None:
        (await alice.raw(method, "/token")).expect(405, "UNSUPPORTED")


class TestRights:
    async def test_who_is_denied_is_told_what_and_docker_shows_it(
        self, bob: Client, anybody: Client, alice: Client
    ) -> None:
        scopes = ("repository:alice/app:pull,push",)
        for client, told in (
            (bob, "bob has no right to push alice/app: it is for alice"),
            (anybody, "log in first: alice/app is for alice"),
        ):
            answer = await client.repository("alice/app").request(
                "POST", "blobs/uploads/", scopes=scopes
            )
            answer.expect(401, "UNAUTHORIZED")
            assert told in answer.body.decode()
            assert f'error_description="{told}"' in answer.headers["WWW-Authenticate"]
        less = await alice.repository("alice/app").request(
            "POST", "blobs/uploads/", scopes=("repository:alice/app:pull",)
        )
        assert (
            "this token was asked for without the right to push alice/app"
            in less.headers["WWW-Authenticate"]
        )

    async def test_what_is_refused_has_its_true_cause(
        self, registry: Running, alice: Client, bob: Client, anybody: Client
    ) -> None:
        """Asked for with less, allowed less by its access token, of others: each is said apart."""
        scope = "repository:alice/app:pull,push,delete"
        token = TokenTerms("ci", frozenset({Action.PULL}), "alice/app*")
        text, _ = await registry.parts.accounts.create_token("alice", token, actor=ACTOR)
        limited = Client(alice.session, alice.url, "alice", text)
        other = "repository:alice/other:pull"
        asked = "this token was asked for without the right to"
        for client, method, name, scopes, told in (
            (alice, "DELETE", "alice/app", (other,), f"{asked} delete alice/app"),
            (limited, "GET", "alice/app", (other,), f"{asked} pull alice/app"),
            (limited, "DELETE", "alice/app", (scope,), "its access token allows pull only"),
            (limited, "GET", "alice/other", (other,), "its access token is for alice/app*"),
            (bob, "GET", "alice/app", (), f"{asked} pull alice/app"),
            (bob, "GET", "alice/app", (scope,), "bob has no right to pull alice/app"),
            (bob, "DELETE", "alice/app", (), "bob has no right to delete alice/app"),
            (anybody, "GET", "alice/app", (), f"{asked} pull alice/app"),
            (anybody, "GET", "alice/app", (scope,), "log in first: alice/app is for alice"),
        ):
            url = f"/v2/{name}/manifests/latest"
            answer = await client.request(method, url, scopes=scopes)
            answer.expect(401, "UNAUTHORIZED")
            assert told in answer.headers["WWW-Authenticate"], (client.user, method, name)
        answer = await limited.raw("DELETE", "/v2/alice/app/manifests/x", limited.basic())
        assert "its access token allows pull only" in answer.headers["WWW-Authenticate"]
        answer = await alice.request("GET", "/v2/_catalog", scopes=(scope,))
        assert f"was not asked for with the scope {CATALOG}" in answer.body.decode()

    async def test_deleting_is_never_implied_by_pushing(self, alice: Client) -> None:
        """zot, CVE-2026-61833."""
        repository = alice.repository("alice/app")
        document = await repository.push_image("latest", b"layer")
        layer = document["layers"][0]["digest"]
        scopes = ("repository:alice/app:pull,push",)
        for path in ("manifests/latest", f"manifests/{digest(b'x')}", f"blobs/{layer}"):
            answer = await repository.request("DELETE", path, scopes=scopes)
            answer.expect(401, "UNAUTHORIZED")
            assert 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]
        (await repository.get("manifests/latest")).expect(200)
        (await repository.get(f"blobs/{layer}")).expect(200)

    async def test_pushing_is_not_implied_by_pulling_or_deleting(self, alice: Client) -> None:
        repository = alice.repository("alice/app")
        for actions in ("pull", "delete", "pull,delete"):
            scopes = (f"repository:alice/app:{actions}",)
            for method, path in (
                ("POST", "blobs/uploads/"),
                ("PUT", "manifests/latest"),
                ("PATCH", "blobs/uploads/x"),
            ):
                answer = await repository.request(method, path, scopes=scopes)
                answer.expect(401, "UNAUTHORIZED")

    async def test_pulling_is_not_implied_by_anything(self, alice: Client) -> None:
        repository = alice.repository("alice/app")
        await repository.push_image("latest", b"layer")
        scopes = ("repository:alice/app:push,delete",)
        for path in ("manifests/latest", "tags/list", f"referrers/{digest(b'x')}"):
            (await repository.request("GET", path, scopes=scopes)).expect(401, "UNAUTHORIZED")

"""Credentials that end: expired tokens, removed users, access tokens with limits."""

from tests.api.client import Client
from tests.api.running import Running
from tests.contracts.metadata_values import ACTOR
from tests.oci.documents import digest
from treescale.registry.accounts import TokenTerms

TAGS = "/v2/alice/app/tags/list"
HALF_A_DAY = 43_200.0


async def limited(registry: Running, alice: Client, terms: TokenTerms) -> Client:
    """Return alice with an access token of these terms instead of her password."""
    text, _ = await registry.parts.accounts.create_token("alice", terms, actor=ACTOR)
    return Client(alice.session, alice.url, "alice", text)


class TestTime:
    async def test_a_bearer_token_expires(self, registry: Running, alice: Client) -> None:
        await alice.repository("alice/app").push_blob(b"x")
        (await alice.request("GET", TAGS)).expect(200)
        registry.parts.clock.skip(HALF_A_DAY)
        answer = (await alice.request("GET", TAGS)).expect(401, "UNAUTHORIZED")
        assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
        alice.tokens.clear()
        (await alice.request("GET", TAGS)).expect(200)

    async def test_a_long_upload_outlives_its_token(self, registry: Running, alice: Client) -> None:
        """As oras needs, which sends the header of its POST with the PUT (wire.md 3a)."""
        repository = alice.repository("alice/app")
        location = await repository.start_upload()
        registry.parts.clock.skip(HALF_A_DAY)
        (await repository.request("PATCH", location, data=b"ab")).expect(202)
        (await repository.get(location)).expect(204)
        url = f"{location}?digest={digest(b'abc')}"
        (await repository.request("PUT", url, data=b"c")).expect(201)
        (await repository.request("POST", "blobs/uploads/")).expect(401)
        (await repository.get(f"blobs/{digest(b'abc')}")).expect(401)


class TestRemoval:
    async def test_a_removed_user_is_gone_everywhere(
        self, registry: Running, alice: Client, bob: Client
    ) -> None:
        await bob.repository("bob/app").push_blob(b"x")
        location = await bob.repository("bob/app").start_upload()
        await registry.parts.accounts.remove_user("bob", actor=ACTOR)
        registry.parts.clock.skip(60)
        await registry.parts.tokens.refresh()
        (await bob.request("GET", "/v2/bob/app/tags/list")).expect(401, "UNAUTHORIZED")
        (await bob.raw("GET", "/v2/bob/app/tags/list", bob.basic())).expect(401)
        (await bob.ask_token()).expect(401)
        (await bob.repository("bob/app").request("PATCH", location, data=b"x")).expect(401)
        (await alice.request("GET", "/v2/")).expect(200)

    async def test_a_password_that_is_right_again_works_at_once(
        self, registry: Running, alice: Client, bob: Client
    ) -> None:
        """What is remembered of the user of before neither counts, nor stands in the way."""
        for somebody in (alice, bob):
            (await somebody.ask_token()).expect(200)
        accounts, database = registry.parts.accounts, registry.parts.database
        await accounts.set_password("alice", alice.password, actor=ACTOR)
        await database.users.remove("bob", actor=ACTOR)
        await accounts.add_user("bob", bob.password, actor=ACTOR)
        await registry.parts.tokens.refresh()
        for somebody in (alice, bob):
            (await somebody.ask_token()).expect(200)
            own = f"/v2/{somebody.user}/app/blobs/uploads/"
            (await somebody.raw("POST", own, somebody.basic())).expect(202)


class TestAccessTokens:
    async def test_the_catalog_shows_only_those(self, registry: Running, alice: Client) -> None:
        for name in ("alice/app", "alice/secret"):
            await alice.repository(name).push_blob(b"x")
        client = await limited(registry, alice, TokenTerms("apps", repository="alice/app*"))
        for answer in (
            await client.raw("GET", "/v2/_catalog", client.basic()),
            await client.request("GET", "/v2/_catalog", scopes=("registry:catalog:*",)),
        ):
            assert answer.expect(200).json["repositories"] == ["alice/app"]

    async def test_it_mounts_from_nowhere_else(self, registry: Running, alice: Client) -> None:
        """Gitea looked at the account's rights instead (CVE-2026-117685)."""
        name = await alice.repository("alice/secret").push_blob(b"x" * 100_000)
        client = await limited(registry, alice, TokenTerms("apps", repository="alice/app*"))
        for query in (f"mount={name}&from=alice/secret", f"mount={name}"):
            answer = await client.request(
                "POST",
                f"/v2/alice/app/blobs/uploads/?{query}",
                scopes=("repository:alice/app:pull,push", "repository:alice/secret:pull"),
            )
            answer.expect(202)
            url = f"/v2/alice/app/blobs/uploads/?{query}"
            (await client.raw("POST", url, client.basic())).expect(202)


async def test_whoever_guesses_has_to_wait(registry: Running, alice: Client) -> None:
    stranger = Client(alice.session, alice.url, "alice", "wrong")
    statuses = [(await stranger.ask_token()).status for _ in range(10)]
    assert set(statuses) == {401, 429}
    answer = (await stranger.ask_token()).expect(429, "TOOMANYREQUESTS")
    assert int(answer.headers["Retry-After"]) >= 1
    registry.parts.clock.skip(120)
    (await stranger.ask_token()).expect(401)

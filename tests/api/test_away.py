"""The database away (T57): pulls of what the server knows go on, pushes are a 503 at once."""

import shutil
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import pytest

from tests.api.client import Client, MakePublic
from tests.api.conftest import running
from tests.api.running import PASSWORD, Running, make_parts
from tests.contracts.metadata_values import ACTOR
from tests.fakes_database import Away
from tests.oci.documents import digest, encoded
from treescale.cache.exchange import AnswerExchange, Asking

LAYER = bytes(range(256)) * 1000


async def test_a_whole_pull_goes_on_and_pushes_are_refused(
    registry: Running, alice: Client
) -> None:
    away = Away(registry.parts.database, counts_changes=False)
    repository = alice.repository("alice/app")
    await repository.push_image("latest", LAYER)
    (await repository.get("manifests/latest")).expect(200)
    await alice.token("repository:alice/app:pull,push")
    away.begin()
    token = await alice.token("repository:alice/app:pull")  # a new one, for a known password
    bearer = {"Authorization": f"Bearer {token}"}
    for headers in (bearer, alice.basic()):
        (await alice.raw("GET", "/v2/alice/app/manifests/latest", headers)).expect(200)
        layer = await alice.raw("GET", f"/v2/alice/app/blobs/{digest(LAYER)}", headers)
        assert layer.expect(200).body == LAYER
    missing = await alice.raw("GET", f"/v2/alice/app/blobs/{digest(b'unknown')}", bearer)
    begun = await repository.request("POST", "blobs/uploads/")
    for refused in (missing, begun):
        assert int(refused.expect(503).headers["Retry-After"]) >= 1
    stranger = Client(alice.session, alice.url, "alice", "a guess at it")
    assert (await stranger.ask_token()).status == 503
    away.end()
    await repository.push_image("latest", b"another layer")
    (await stranger.ask_token()).expect(401)


async def test_what_was_there_lately_is_no_promise_to_who_may_push(
    registry: Running, alice: Client, anybody: Client, make_public: MakePublic
) -> None:
    """Clients that hear 200 do not push it; meanwhile another server may have deleted it."""
    repository = alice.repository("alice/app")
    made = await repository.push_image("latest", LAYER)
    places = ["manifests/latest", f"manifests/{digest(encoded(made))}"]
    await make_public("alice/app")
    for client in (alice, anybody):
        for place in places:
            (await client.repository("alice/app").get(place)).expect(200)
    Away(registry.parts.database, counts_changes=False).begin()
    bearer = {"Authorization": f"Bearer {await alice.token('repository:alice/app:pull')}"}
    for place in places:
        (await repository.request("HEAD", place)).expect(503)
        (await repository.get(place)).expect(200)
        (await alice.raw("HEAD", f"/v2/alice/app/{place}", bearer)).expect(200)
        (await anybody.repository("alice/app").request("HEAD", place)).expect(200)


@dataclass
class Two:
    """Two workers on one database, and what the second hears of the first."""

    first: Running
    second: Running
    heard: AnswerExchange
    to_first: Asking
    away: list[Away]

    def begin(self) -> None:
        """Let the database be away for both."""
        for one in self.away:
            one.begin()


@pytest.fixture
async def two(tmp_path: Path, database_file: Path) -> AsyncIterator[Two]:
    copy = tmp_path / "treescale.db"
    shutil.copy(database_file, copy)
    tells, hears = AnswerExchange(), AnswerExchange()

    async def to_first(question: bytes) -> Sequence[bytes]:
        return [await tells.answer(question)]

    with ThreadPoolExecutor(4) as threads:
        told = await make_parts(copy, threads, tells)
        other = replace(await make_parts(copy, threads, hears), store=told.store)
        away = [Away(parts.database, counts_changes=False) for parts in (told, other)]
        async with running(told) as first, running(other) as second:
            yield Two(first, second, hears, to_first, away)


async def pulled(session: aiohttp.ClientSession, from_: Running, user: str) -> list[int]:
    """Pull as docker does; return the statuses: of the token, the manifest, the layer."""
    client = Client(session, from_.url, user, PASSWORD if user else "")
    answer = await client.ask_token("repository:alice/app:pull")
    if answer.status != 200:
        return [answer.status]
    bearer = {"Authorization": f"Bearer {answer.json['token']}"}
    found = [
        await client.raw("GET", f"/v2/alice/app/{path}", bearer)
        for path in ("manifests/latest", f"blobs/{digest(LAYER)}")
    ]
    return [each.status for each in (answer, *found)]


async def test_what_one_worker_knows_can_be_pulled_through_another(
    two: Two, session: aiohttp.ClientSession
) -> None:
    alice = Client(session, two.first.url, "alice", PASSWORD)
    await alice.repository("alice/app").push_image("latest", LAYER)
    assert await pulled(session, two.first, "alice") == [200, 200, 200]
    two.begin()
    assert await pulled(session, two.second, "alice") == [503], "the control: it hears of nobody"
    two.heard.connect(two.to_first, two.to_first)
    assert await pulled(session, two.second, "alice") == [200, 200, 200]
    stranger = Client(session, two.second.url, "alice", "a guess at it")
    assert (await stranger.ask_token()).status == 503
    assert await pulled(session, two.second, "bob") == [503], "never proven to anybody"


async def test_what_is_private_stays_so_whoever_is_heard(
    two: Two, session: aiohttp.ClientSession
) -> None:
    alice = Client(session, two.first.url, "alice", PASSWORD)
    await alice.repository("alice/app").push_image("latest", LAYER)
    assert await pulled(session, two.first, "bob") == [200, 401, 401]
    two.heard.connect(two.to_first, two.to_first)
    two.begin()
    assert await pulled(session, two.second, "") == [503]
    assert await pulled(session, two.second, "bob") == [503]


async def test_what_is_public_is_so_for_all_workers_until_one_saw_it_made_private(
    two: Two, session: aiohttp.ClientSession
) -> None:
    alice = Client(session, two.first.url, "alice", PASSWORD)
    await alice.repository("alice/app").push_image("latest", LAYER)
    repositories = two.first.parts.database.repositories
    await repositories.set_public("alice/app", public=True, now=1.0, actor=ACTOR)
    assert await pulled(session, two.first, "") == [200, 200, 200]
    two.heard.connect(two.to_first, two.to_first)
    two.begin()
    assert await pulled(session, two.second, "") == [200, 200, 200]
    for one in two.away:
        one.end()
    seconds = two.second.parts.database.repositories
    await seconds.set_public("alice/app", public=False, now=2.0, actor=ACTOR)
    two.begin()
    assert await pulled(session, two.first, "") == [200, 200, 200], "it cannot know"
    assert await pulled(session, two.second, "") == [503], "it knows better than the first"


async def test_a_password_that_was_changed_since_is_not_heard_of(
    two: Two, session: aiohttp.ClientSession
) -> None:
    """Another worker may still hold it for right; the revocation that was read here voids it."""
    alice = Client(session, two.first.url, "alice", PASSWORD)
    await alice.repository("alice/app").push_image("latest", LAYER)
    assert await pulled(session, two.first, "alice") == [200, 200, 200]
    two.heard.connect(two.to_first, two.to_first)
    await two.second.parts.accounts.set_password("alice", "another password for tests", actor=ACTOR)
    await two.second.parts.tokens.refresh()
    two.begin()
    assert await pulled(session, two.second, "alice") == [401]

"""Mounting blobs from other repositories: a convenience, and never an oracle."""

import re

import pytest

from tests.api.client import EVERYTHING, Answer, Client, MakePublic, Repository
from tests.oci.documents import digest

DATA = b"a layer worth sharing" * 10_000


@pytest.fixture
async def source(alice: Client) -> Repository:
    repository = alice.repository("alice/source")
    await repository.push_blob(DATA)
    return repository


async def mount(client: Client, target: str, query: str, *scopes: str) -> Answer:
    wanted = (f"repository:{target}:{EVERYTHING}", *scopes)
    return await client.request("POST", f"/v2/{target}/blobs/uploads/?{query}", scopes=wanted)


def stripped(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    """Return the answer without what is different in any two answers."""
    identifier = answer.headers["Docker-Upload-UUID"]
    headers = {
        name: re.sub(identifier, "ID", value)
        for name, value in answer.headers.items()
        if name not in ("Date", "X-Request-Id")
    }
    return answer.status, headers, answer.body


@pytest.mark.usefixtures("source")
async def test_from_a_repository_of_ones_own(alice: Client) -> None:
    query = f"mount={digest(DATA)}&from=alice/source"
    answer = await mount(alice, "alice/target", query, "repository:alice/source:pull")
    answer.expect(201)
    assert answer.headers["Location"] == f"/v2/alice/target/blobs/{digest(DATA)}"
    assert answer.headers["Docker-Content-Digest"] == digest(DATA)
    assert answer.headers["Content-Length"] == "0"
    target = alice.repository("alice/target")
    assert (await target.get(f"blobs/{digest(DATA)}")).expect(200).body == DATA


async def test_what_was_mounted_outlives_its_source(alice: Client, source: Repository) -> None:
    query = f"mount={digest(DATA)}&from=alice/source"
    await mount(alice, "alice/target", query, "repository:alice/source:pull")
    (await source.delete(f"blobs/{digest(DATA)}")).expect(202)
    target = alice.repository("alice/target")
    assert (await target.get(f"blobs/{digest(DATA)}")).expect(200).body == DATA


@pytest.mark.usefixtures("source")
async def test_without_from_only_where_the_token_may_pull(alice: Client) -> None:
    query = f"mount={digest(DATA)}"
    (await mount(alice, "alice/blind", query)).expect(202)
    (await mount(alice, "alice/blind", query, "repository:alice/source:push")).expect(202)
    (await mount(alice, "alice/blind", query, "repository:alice/source:pull")).expect(201)


@pytest.mark.usefixtures("source")
async def test_a_token_reaches_no_further_than_its_scopes(alice: Client) -> None:
    """Gitea checked the source with the account's rights (CVE-2026-117685)."""
    query = f"mount={digest(DATA)}&from=alice/source"
    for scopes in ((), ("repository:alice/source:push",)):
        (await mount(alice, "alice/target", query, *scopes)).expect(401, "UNAUTHORIZED")


SOURCE_AND_TARGET = 'scope="repository:alice/target:pull,push repository:alice/source:pull"'


@pytest.mark.usefixtures("source")
async def test_a_challenge_names_source_and_target(
    alice: Client, bob: Client, anybody: Client
) -> None:
    """So that a client that asks for both with the next token is given both at once."""
    url = f"/v2/alice/target/blobs/uploads/?mount={digest(DATA)}&from=alice/source"
    source, target = "repository:alice/source:pull", "repository:alice/target:pull,push"
    for answer in (
        await anybody.raw("POST", url),
        await alice.raw("POST", url, {"Authorization": "Bearer x.y.z"}),
        await alice.raw("POST", url, {"Authorization": "Basic !"}),
        await alice.request("POST", url, scopes=()),
        await alice.request("POST", url, scopes=(source,)),
        await alice.request("POST", url, scopes=(target,)),
        await bob.request("POST", url, scopes=(source, target)),
        await anybody.request("POST", url, scopes=(source, target)),
    ):
        answer.expect(401, "UNAUTHORIZED")
        assert SOURCE_AND_TARGET in answer.headers["WWW-Authenticate"]
    (await alice.request("POST", url, scopes=(source, target))).expect(201)
    within = "/v2/alice/source/blobs/uploads/?mount=sha256:x&from=alice/source"
    challenge = (await anybody.raw("POST", within)).headers["WWW-Authenticate"]
    assert 'scope="repository:alice/source:pull,push"' in challenge


@pytest.mark.usefixtures("source")
async def test_who_asked_for_the_source_in_vain_goes_on_without(bob: Client) -> None:
    """Another 401 would only send the client round in a circle: it may not pull from there."""
    query = f"mount={digest(DATA)}&from=alice/source"
    (await mount(bob, "bob/target", query)).expect(401, "UNAUTHORIZED")
    (await mount(bob, "bob/target", query, "repository:alice/source:pull")).expect(202)
    url = f"/v2/bob/target/blobs/uploads/?{query}"
    (await bob.raw("POST", url, bob.basic())).expect(202)


async def test_a_miss_is_an_upload_to_go_on_with(alice: Client) -> None:
    target = alice.repository("alice/target")
    missing = digest(b"missing")
    for query in (f"mount={missing}&from=alice/source", f"mount={missing}"):
        answer = await mount(alice, "alice/target", query, "repository:alice/source:pull")
        location = answer.expect(202).headers["Location"]
        assert answer.headers["Range"] == "0-0"
        (await target.head(f"blobs/{missing}")).expect(404)
        (await target.delete(location)).expect(204)
    answer = await mount(alice, "alice/target", f"mount={missing}")
    url = f"{answer.headers['Location']}?digest={missing}"
    (await target.request("PUT", url, data=b"missing")).expect(201)


@pytest.mark.usefixtures("source")
async def test_foreign_absent_and_missing_are_the_same_bytes(bob: Client) -> None:
    blob, missing = digest(DATA), digest(b"missing")
    await bob.repository("bob/own").push_blob(b"something")
    scopes = tuple(
        f"repository:{name}:pull"
        for name in ("alice/source", "alice/absent", "nobody/absent", "bob/own", "bob/absent")
    )
    answers = [
        stripped(await mount(bob, "bob/target", query, *scopes))
        for query in (
            f"mount={missing}&from=bob/own",
            f"mount={blob}&from=bob/own",
            f"mount={blob}&from=bob/absent",
            f"mount={blob}&from=alice/source",
            f"mount={blob}&from=alice/absent",
            f"mount={blob}&from=nobody/absent",
            f"mount={blob}&from=NOT+A+NAME",
            f"mount={blob}&from=",
            f"mount={blob}",
            f"mount={missing}",
        )
    ]
    assert answers[0][0] == 202
    assert all(answer == answers[0] for answer in answers)
    (await bob.repository("bob/target").head(f"blobs/{blob}")).expect(404)


async def test_from_a_public_repository_of_somebody_else(
    alice: Client, bob: Client, source: Repository, make_public: MakePublic
) -> None:
    await make_public(source.name)
    query = f"mount={digest(DATA)}&from=alice/source"
    (await mount(bob, "bob/target", query, "repository:alice/source:pull")).expect(201)
    assert (await bob.repository("bob/target").get(f"blobs/{digest(DATA)}")).body == DATA
    assert alice.user != bob.user


async def test_mounting_needs_the_right_to_push(
    alice: Client, bob: Client, source: Repository, make_public: MakePublic
) -> None:
    await make_public(source.name)
    query = f"mount={digest(DATA)}&from=alice/source"
    (await mount(bob, "alice/source", query)).expect(401, "UNAUTHORIZED")
    scopes = ("repository:alice/readonly:pull", "repository:alice/source:pull")
    answer = await alice.request(
        "POST", f"/v2/alice/readonly/blobs/uploads/?{query}", scopes=scopes
    )
    answer.expect(401, "UNAUTHORIZED")


async def test_from_alone_is_an_ordinary_upload(alice: Client) -> None:
    (await mount(alice, "alice/target", "from=alice/source")).expect(202)


async def test_a_mount_of_no_digest(alice: Client) -> None:
    answer = await mount(alice, "alice/target", "mount=sha256:bad&from=alice/source")
    answer.expect(400, "DIGEST_INVALID")

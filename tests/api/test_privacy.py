"""What is somebody else's and what does not exist are the same thing, down to the byte."""

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.client import EVERYTHING, Answer, Client, MakePublic
from tests.examples import examples
from tests.oci.documents import OCI_MANIFEST, digest, encoded, image

LAYER = b"a layer nobody else may see"
PRIVATE, ABSENT = "alice/private", "alice/nothing"
DOCUMENT = image()
PATHS = [
    ("GET", "manifests/latest"),
    ("HEAD", "manifests/latest"),
    ("PUT", "manifests/latest"),
    ("DELETE", "manifests/latest"),
    ("GET", f"manifests/{digest(encoded(DOCUMENT))}"),
    ("GET", f"blobs/{digest(LAYER)}"),
    ("HEAD", f"blobs/{digest(LAYER)}"),
    ("DELETE", f"blobs/{digest(LAYER)}"),
    ("POST", "blobs/uploads/"),
    ("POST", f"blobs/uploads/?mount={digest(LAYER)}"),
    ("POST", f"blobs/uploads/?digest={digest(LAYER)}"),
    ("GET", "tags/list"),
    ("GET", f"referrers/{digest(b'subject')}"),
    ("PATCH", "tags/list"),
    ("GET", "blobs/uploads/x"),
]


@pytest.fixture(autouse=True)
async def private(alice: Client) -> None:
    await alice.repository(PRIVATE).push_image("latest", LAYER)


def comparable(answer: Answer, name: str) -> tuple[int, dict[str, str], bytes]:
    """Return the answer without the name that was asked for and what differs each time."""
    headers = {
        key: value.replace(name, "NAME")
        for key, value in answer.headers.items()
        if key not in ("Date", "X-Request-Id", "Content-Length")
    }
    return answer.status, headers, answer.body.replace(name.encode(), b"NAME")


async def asked(client: Client, method: str, path: str, name: str, how: str) -> Answer:
    url = f"/v2/{name}/{path}"
    data = encoded(DOCUMENT) if method == "PUT" else None
    headers = {"Content-Type": OCI_MANIFEST} if data else {}
    if how == "bare":
        return await client.raw(method, url, headers, data)
    if how == "password":
        return await client.raw(method, url, {**client.basic(), **headers}, data)
    actions = EVERYTHING if how == "all" else "pull"
    scopes = (f"repository:{name}:{actions}",) if how != "other" else ("repository:bob/own:pull",)
    client.tokens.clear()
    return await client.request(method, url, scopes=scopes, headers=headers, data=data)


async def check_everywhere(client: Client, how: str, subtests: pytest.Subtests) -> None:
    for method, path in PATHS:
        with subtests.test(method=method, path=path):
            private, absent = [
                comparable(await asked(client, method, path, name, how), name)
                for name in (PRIVATE, ABSENT)
            ]
            assert private == absent
            assert private[0] == 401


@pytest.mark.parametrize("how", ["all", "pull", "other", "password", "bare"])
async def test_private_and_absent_are_the_same_to_others(
    bob: Client, how: str, subtests: pytest.Subtests
) -> None:
    await check_everywhere(bob, how, subtests)


@pytest.mark.parametrize("how", ["all", "bare"])
async def test_and_to_the_anonymous(anybody: Client, how: str, subtests: pytest.Subtests) -> None:
    await check_everywhere(anybody, how, subtests)


async def test_and_to_who_asks_for_tokens(bob: Client, anybody: Client) -> None:
    for client in (bob, anybody):
        answers = []
        for name in (PRIVATE, ABSENT):
            answer = await client.ask_token(f"repository:{name}:{EVERYTHING}")
            fields = answer.expect(200).json
            answers.append({key: fields[key] for key in fields if "token" not in key})
            answers[-1].pop("issued_at")
        assert answers[0] == answers[1]


@settings(
    max_examples=examples(60),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    method=st.sampled_from(["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"]),
    path=st.sampled_from([path for _, path in PATHS])
    | st.from_regex(
        re.compile(r"(manifests|blobs|referrers)/[a-zA-Z0-9:._-]{1,80}", re.ASCII), fullmatch=True
    ),
    how=st.sampled_from(["all", "pull", "other", "password", "bare"]),
)
async def test_whatever_is_asked(bob: Client, method: str, path: str, how: str) -> None:
    answers = [
        comparable(await asked(bob, method, path, name, how), name) for name in (PRIVATE, ABSENT)
    ]
    assert answers[0] == answers[1]


async def test_what_is_public_is_pulled_by_everybody_and_pushed_by_nobody_else(
    bob: Client, anybody: Client, make_public: MakePublic
) -> None:
    await make_public(PRIVATE)
    for client in (bob, anybody):
        repository = client.repository(PRIVATE)
        for path in ("manifests/latest", f"blobs/{digest(LAYER)}", "tags/list"):
            (await repository.get(path)).expect(200)
        for method, path in PATHS:
            if method in ("PUT", "POST", "DELETE"):
                answer = await asked(client, method, path, PRIVATE, "all")
                answer.expect(401, "UNAUTHORIZED")
        (await repository.get("manifests/latest")).expect(200)


async def test_uploads_are_their_users_alone(alice: Client, bob: Client) -> None:
    """Quay let any pusher read and cancel the uploads of others (CVE-2026-32589)."""
    own = alice.repository(PRIVATE)
    location = await own.start_upload()
    (await own.request("PATCH", location, data=b"half")).expect(202)
    identifier = location.rpartition("/")[2]
    for stranger in (bob.repository("bob/own"), alice.repository("alice/other")):
        path = f"blobs/uploads/{identifier}"
        for method in ("GET", "PATCH", "PUT", "DELETE"):
            url = f"{path}?digest={digest(b'half')}" if method == "PUT" else path
            answer = await stranger.request(method, url, data=b"" if method == "PUT" else None)
            answer.expect(404, "BLOB_UPLOAD_UNKNOWN")
    for method in ("GET", "PATCH", "PUT", "DELETE"):
        answer = await bob.repository(PRIVATE).request(method, location)
        answer.expect(401, "UNAUTHORIZED")
    assert (await own.get(location)).expect(204).headers["Range"] == "0-3"
    url = f"{location}?digest={digest(b'half')}"
    (await own.request("PUT", url, data=b"")).expect(201)


async def test_a_foreign_upload_and_none_are_the_same_bytes(alice: Client, bob: Client) -> None:
    location = await alice.repository(PRIVATE).start_upload()
    identifier = location.rpartition("/")[2]
    bodies = set()
    for each in (identifier, "x" * len(identifier)):
        answer = await bob.repository("bob/own").get(f"blobs/uploads/{each}")
        bodies.add((answer.status, answer.body))
    assert len(bodies) == 1

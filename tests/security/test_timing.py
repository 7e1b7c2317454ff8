"""No request tells, by what it costs, whether a blob or manifest is in somebody else's repository.

Counted in statements and in what the store is asked for, not in time: the machine's mood decides on
that. Pushing is the exception, and the control: whose bytes are there already is quicker, for
nothing has to be written. It takes the bytes themselves to find that out (docs/security.md).
"""

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine, event

from tests.api.client import Answer, Client
from tests.api.running import Running
from tests.oci.documents import descriptor, digest, encoded, image
from tests.tables import each_row

FOREIGN, ABSENT = b"pushed by alice" * 9000, b"pushed by nobody" * 9000
BOTH = ("repository:bob/app:pull,push,delete", "repository:alice/app:pull")
Work = list[str]


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch, registry: Running) -> Iterator[Work]:
    """Every statement, and every call of the store."""
    seen: Work = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    store = registry.parts.store
    for name in ("get", "put", "has"):
        if (method := getattr(store, name, None)) is not None:
            monkeypatch.setattr(store, name, _noting(seen, name, method))
    event.listen(Engine, "before_cursor_execute", note)
    yield seen
    event.remove(Engine, "before_cursor_execute", note)


def _noting(seen: Work, name: str, method: Callable[..., object]) -> Callable[..., object]:
    def noted(*args: object, **how: object) -> object:
        seen.append(f"store.{name}")
        return method(*args, **how)

    return noted


@pytest.fixture
async def pushed(alice: Client, bob: Client) -> str:
    """Have alice push a blob and a manifest, and bob something; return the manifest's digest."""
    repository = alice.repository("alice/app")
    for blob in (FOREIGN, b"{}"):
        await repository.push_blob(blob)
    manifest = image(descriptor(FOREIGN))
    (await repository.put_manifest(manifest, "latest")).expect(201)
    await bob.repository("bob/app").push_blob(b"{}")
    return digest(encoded(manifest))


async def asked(bob: Client, method: str, path: str) -> Answer:
    return await bob.request(method, path, scopes=BOTH)


async def cost(bob: Client, work: Work, method: str, path: str) -> tuple[int, Work]:
    """Return the status of a request and what it costs when it is not the first of its kind."""
    await asked(bob, method, path)
    work.clear()
    answer = await asked(bob, method, path)
    return answer.status, list(work)


@pytest.mark.usefixtures("pushed")
@each_row(
    ("method", "path"),
    [
        ("POST", "/v2/bob/app/blobs/uploads/?mount={}&from=alice/app"),
        ("POST", "/v2/bob/app/blobs/uploads/?mount={}&from=alice/absent"),
        ("POST", "/v2/bob/app/blobs/uploads/?mount={}&from=bob/app"),
        ("POST", "/v2/bob/app/blobs/uploads/?mount={}"),
        ("HEAD", "/v2/bob/app/blobs/{}"),
        ("GET", "/v2/bob/app/blobs/{}"),
        ("DELETE", "/v2/bob/app/blobs/{}"),
        ("HEAD", "/v2/alice/app/blobs/{}"),
        ("GET", "/v2/alice/app/blobs/{}"),
        ("HEAD", "/v2/bob/app/manifests/{}"),
        ("HEAD", "/v2/alice/app/manifests/{}"),
        ("GET", "/v2/bob/app/referrers/{}"),
    ],
)
async def test_a_blob_of_somebody_else_costs_what_none_costs(
    bob: Client, work: Work, method: str, path: str
) -> None:
    foreign = await cost(bob, work, method, path.format(digest(FOREIGN)))
    absent = await cost(bob, work, method, path.format(digest(ABSENT)))
    assert foreign == absent
    assert foreign[0] != 201


async def test_a_manifest_of_somebody_else_costs_what_none_costs(
    bob: Client, work: Work, pushed: str
) -> None:
    for method, path in (
        ("HEAD", "/v2/bob/app/manifests/{}"),
        ("HEAD", "/v2/alice/app/manifests/{}"),
        ("GET", "/v2/bob/app/referrers/{}"),
        ("POST", "/v2/bob/app/blobs/uploads/?mount={}"),
    ):
        foreign = await cost(bob, work, method, path.format(pushed))
        assert foreign == await cost(bob, work, method, path.format(digest(b"none")))


@pytest.mark.usefixtures("pushed")
async def test_a_manifest_that_refers_to_somebody_elses_blob_costs_no_less(
    bob: Client, work: Work
) -> None:
    costs = []
    for content in (FOREIGN, ABSENT):
        work.clear()
        answer = await bob.repository("bob/app").put_manifest(image(descriptor(content)), "latest")
        answer.expect(400, "MANIFEST_BLOB_UNKNOWN")
        costs.append(list(work))
    assert costs[0] == costs[1]


@pytest.mark.usefixtures("pushed")
async def test_a_push_of_what_is_there_is_seen_to_cost_less(bob: Client, work: Work) -> None:
    costs = []
    for content in (FOREIGN, ABSENT):
        work.clear()
        await bob.repository("bob/app").push_blob(content)
        costs.append(list(work))
    assert costs[0] != costs[1]

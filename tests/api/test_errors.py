"""What clients are told when it is our fault: what they can do, and nothing of this machine."""

import importlib
import json
import pkgutil
import re
from collections.abc import Iterator
from http import HTTPStatus

import pytest

import treescale
from tests.api.client import Client
from tests.api.running import Running
from tests.oci.documents import digest
from tests.tables import each_row
from treescale import errors
from treescale.http.errors import OURS, error_response

SECRETS = (
    "/srv/treescale/disk1 has 268435455 bytes free and keeps 268435456 "
    "(store 5c78a1b2c3d4e5f60718293a4b5c6d7e on s3.example:5000, "
    "postgresql://treescale:kept-secret@db.example/treescale, "
    "SELECT name FROM users WHERE name = 'x', treescale.db, errno 28)"
)
TELLING = re.compile(
    r"[/\\]|[0-9a-f]{32}|://|\d{4,}|\.db\b|\.example|SELECT|errno|bytes|store 5c78|kept-secret"
)
"""What may stand in no answer; the request's id is taken out before."""


def kinds(of: type[Exception]) -> Iterator[type[Exception]]:
    """Yield a class of errors and all below it, wherever it is defined."""
    yield of
    for below in of.__subclasses__():
        yield from kinds(below)


for module in pkgutil.walk_packages(treescale.__path__, "treescale."):
    if "migrations" not in module.name:
        importlib.import_module(module.name)
FAILED = sorted(
    {kind for kind in kinds(errors.Failed) if kind.__module__.startswith("treescale.")},
    key=lambda kind: kind.__name__,
)


def made(kind: type[Exception]) -> Exception:
    """Return an error of the kind whose text says far too much."""
    error = kind.__new__(kind)
    error.args = (SECRETS,)
    return error


@each_row("kind", [*FAILED, *OURS, RuntimeError, OSError], ids=lambda k: k.__name__)
def test_no_error_of_ours_tells_of_the_machine(kind: type[Exception]) -> None:
    response = error_response(made(kind), "a-request")
    body = response.body
    assert isinstance(body, bytes)
    (told,) = json.loads(body)["errors"]
    assert response.status in (500, 503, 507)
    assert not TELLING.search(told["message"].replace("a-request", "")), told
    assert told["detail"] is None
    assert "a-request" in told["message"], "by which the operator finds our own words"
    if response.status != HTTPStatus.INTERNAL_SERVER_ERROR:
        assert "Try again later" in told["message"]
        assert int(response.headers["Retry-After"]) >= 1


def test_the_control_sees_what_it_looks_for() -> None:
    assert len(FAILED) > 8
    assert TELLING.search(SECRETS)
    refused = error_response(errors.NameInvalid("a/b is no name"), "a-request")
    assert isinstance(refused.body, bytes)
    assert b"a/b is no name" in refused.body, "what the caller did is told as it is"


@pytest.mark.parametrize(
    "kind", [errors.StoreFull, errors.StoreUnusable, errors.NotEnoughStores, errors.Unreachable]
)
async def test_neither_does_a_push_or_a_pull_that_fails(
    registry: Running,
    alice: Client,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kind: type[Exception],
) -> None:
    repository = alice.repository("alice/app")
    name = await repository.push_blob(bytes(100_000))

    async def fail(*_: object) -> None:
        raise made(kind)

    for call in ("check_space", "get", "put"):
        monkeypatch.setattr(registry.parts.store, call, fail)
    begun = await repository.request("POST", f"blobs/uploads/?digest={digest(b'x')}", data=b"x")
    got = await repository.get(f"blobs/{name}")
    for answer in (begun, got):
        assert answer.status in (503, 507)
        (told,) = answer.json["errors"]
        said = re.sub(r"request \S+$", "", told["message"])
        assert not TELLING.search(said), told
    assert "kept-secret" in capsys.readouterr().out, "the operator reads it in the log"

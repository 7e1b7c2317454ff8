"""/healthz and /readyz: what they say, in which form, and to what question."""

import re
from http import HTTPStatus

import pytest

from tests.api.client import Client
from tests.api.running import Running
from tests.tables import each_row
from treescale.cluster.readiness import WORDS, Check, Reason

ALL = [check.label for check in Check]


async def test_a_fit_server_says_so_check_by_check(anybody: Client) -> None:
    answer = (await anybody.raw("GET", "/readyz")).expect(200)
    assert answer.body.decode().splitlines() == ["ready", *(f"{name}: ok" for name in ALL)]
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"
    (await anybody.raw("GET", "/healthz")).expect(200)


async def test_an_unfit_one_says_what_is_wrong(registry: Running, anybody: Client) -> None:
    registry.parts.ready.wrong = {Check.DATABASE_WRITE: Reason.MOVED, Check.STORE: Reason.STORES}
    answer = await anybody.raw("GET", "/readyz")
    assert answer.status == HTTPStatus.SERVICE_UNAVAILABLE
    assert int(answer.headers["Retry-After"]) >= 1
    lines = answer.body.decode().splitlines()
    assert lines[0] == "not ready"
    assert f"database_write: {WORDS[Reason.MOVED]}" in lines
    assert "database_read: ok" in lines
    (await anybody.raw("GET", "/healthz")).expect(200)


async def test_it_is_json_for_who_asks_for_it(registry: Running, anybody: Client) -> None:
    registry.parts.ready.wrong = {Check.CLOCK: Reason.CLOCK}
    answer = await anybody.raw("GET", "/readyz", {"Accept": "application/json"})
    assert answer.status == HTTPStatus.SERVICE_UNAVAILABLE
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.json["ready"] is False
    assert [one["name"] for one in answer.json["checks"]] == ALL
    wrong = [one for one in answer.json["checks"] if not one["ok"]]
    assert wrong == [{"name": "clock", "ok": False, "reason": WORDS[Reason.CLOCK]}]


@pytest.mark.parametrize("query", ["?for=pull", "?for=pull&for=pull"])
async def test_pulls_need_nothing_of_the_database(
    registry: Running, anybody: Client, query: str
) -> None:
    registry.parts.ready.wrong = {Check.DATABASE_READ: Reason.SILENT, Check.STORE: Reason.STORES}
    answer = (await anybody.raw("GET", f"/readyz{query}")).expect(200)
    assert answer.body.decode().splitlines() == ["ready", "peers: ok", "ending: ok"]
    registry.parts.ready.wrong = {Check.ENDING: Reason.ENDING}
    assert (await anybody.raw("GET", f"/readyz{query}")).status == HTTPStatus.SERVICE_UNAVAILABLE


@pytest.mark.parametrize("query", ["?for=push", "?for=pull&for=push", "?other=1"])
async def test_everything_else_needs_everything(
    registry: Running, anybody: Client, query: str
) -> None:
    registry.parts.ready.wrong = {Check.DATABASE_READ: Reason.SILENT}
    assert (await anybody.raw("GET", f"/readyz{query}")).status == HTTPStatus.SERVICE_UNAVAILABLE


@pytest.mark.parametrize("query", ["?for=", "?for=PULL", "?for=pull&for=x", "?for=pull,push"])
async def test_what_nobody_can_want_is_refused(anybody: Client, query: str) -> None:
    (await anybody.raw("GET", f"/readyz{query}")).expect(400)


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_the_header_alone(registry: Running, anybody: Client, path: str) -> None:
    head, whole = await anybody.raw("HEAD", path), await anybody.raw("GET", path)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Length"] == str(len(whole.body))
    registry.parts.ready.wrong = {Check.ENDING: Reason.ENDING}
    status = 503 if path == "/readyz" else 200
    assert (await anybody.raw("HEAD", path)).status == status


@each_row("reason", Reason)
def test_no_reason_says_anything_of_the_machine(reason: Reason) -> None:
    assert not re.search(r"[/\\]|[0-9a-f]{12}|\.db|://|\d{3,}", WORDS[reason])

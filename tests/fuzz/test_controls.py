"""The fuzzers find what is planted: each protection switched off is noticed within a few runs."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import Phase
from hypothesis.errors import FlakyFailure

from tests.fuzz.budget import Tally
from tests.fuzz.callers import Wallet
from tests.fuzz.machine import Setting
from tests.fuzz.rig import copy_home, running
from tests.fuzz.test_requests import run_case, run_cases
from tests.fuzz.test_state import run_machine
from tests.fuzz.wire import Broken
from treescale.api.routes import ROUTES
from treescale.auth.scopes import ALL_ACTIONS
from treescale.http.call import Call
from treescale.http.routes import Route
from treescale.oci.conditions import Condition
from treescale.oci.paths import ResourceKind
from treescale.registry import push, token_service
from treescale.registry.manifests import ManifestService
from treescale.registry.pull import Pulls

RUNS = 90
Plant = Callable[[pytest.MonkeyPatch], None]


def stale_tags(patch: pytest.MonkeyPatch) -> None:
    """A worker remembers what it read, whatever was pushed through the other one."""
    get = ManifestService.get
    known: dict[tuple[ManifestService, str, str], Any] = {}

    async def remembered(self: ManifestService, repository: str, reference: str, **how: Any) -> Any:
        key = self, repository, reference
        if key not in known:
            known[key] = await get(self, repository, reference, **how)
        return known[key]

    patch.setattr(ManifestService, "get", remembered)


def open_doors(patch: pytest.MonkeyPatch) -> None:
    """Everybody may do everything."""
    patch.setattr(token_service, "permitted", lambda *_, **__: ALL_ACTIONS)


def any_order(patch: pytest.MonkeyPatch) -> None:
    """A chunk of an upload is taken wherever it says it belongs."""
    patch.setattr(push, "_check_order", lambda *_: None)


def blobs_for_ever(patch: pytest.MonkeyPatch) -> None:
    """A deleted blob stays."""

    async def unlink(self: Pulls, repository: str, digest: object, *_: object) -> None:
        await self.find(repository, digest)  # type: ignore[arg-type]

    patch.setattr(Pulls, "unlink", unlink)


def no_conditions(patch: pytest.MonkeyPatch) -> None:
    """A push or a deletion is done whatever If-Match and If-None-Match say."""
    patch.setattr(Condition, "check", lambda *_: None)


def any_length(patch: pytest.MonkeyPatch) -> None:
    """A chunk is taken whatever length it said it has."""
    patch.setattr(push._Length, "count", lambda *_: None)
    patch.setattr(push._Length, "end", lambda *_: None)


PLANTS: Mapping[Plant, int] = {
    stale_tags: 0,
    open_doors: 0,
    any_order: 5,
    blobs_for_ever: 0,
    no_conditions: 0,
    any_length: 3,
}
"""Each with a case that finds it soon."""


@pytest.mark.long
@pytest.mark.parametrize("plant", PLANTS)
def test_the_state_machine_finds(
    plant: Plant, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    with asyncio.Runner() as runner:
        setting = Setting(home, tmp_path, runner, Tally("planted"))
        # It is sent again, and may go well then: what was planted shows at some moments alone.
        with pytest.raises((AssertionError, FlakyFailure)) as raised:
            run_machine(setting, PLANTS[plant], runs=RUNS, phases=(Phase.generate,))
    found = raised.value
    errors = found.exceptions if isinstance(found, FlakyFailure) else (found,)
    assert any("no model explains it" in str(error) for error in errors)


@pytest.mark.long
async def test_the_request_fuzzer_finds_a_handler_that_breaks(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(call: Call) -> web.StreamResponse:
        raise ZeroDivisionError(call.repository)

    key = ResourceKind.TAGS, "GET"
    monkeypatch.setitem(ROUTES, key, Route(broken, None))
    async with running(copy_home(home, tmp_path / "home")) as worker:
        credentials = [Wallet(home).basic("alice")["Authorization"]]
        with pytest.raises(ExceptionGroup) as raised:
            await run_cases(
                range(200), lambda number: run_case(number, worker.port, credentials, Tally("x"))
            )
    assert raised.group_contains(Broken, match="500")

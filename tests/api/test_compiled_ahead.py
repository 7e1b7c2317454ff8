"""Statements that a server's start compiles are run with the parameters it compiles them for."""

import pytest

from tests.api.client import Client
from tests.compiled import Compiled, compile_apart
from treescale.metadata.engine import sqlite
from treescale.metadata.engine.ahead import AHEAD
from treescale.metadata.engine.sqlite import compile_ahead

RUN_MIN = 15
"""Of those below; others are of jobs, and of what goes on beside."""


async def test_what_a_push_and_a_pull_run_is_found_compiled(
    alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_apart(monkeypatch, Compiled())
    compile_ahead()
    known = sqlite._compiled._data
    ahead = set(known)
    assert len(ahead) >= len({id(each.statement) for each in AHEAD}) - 2, "some are equal"
    known.clear()
    app = alice.repository("alice/app")
    await app.push_image("v1", b"a layer" * 100, bytes(3_000_000))
    (await app.request("GET", "manifests/v1")).expect(200)
    (await app.request("GET", "tags/list")).expect(200)
    ran = set(known)
    marked = {statement for _, statement, *_ in ahead}
    assert {key for key in ran if key[1] in marked} <= ahead, "its parameters have other names"
    assert len(ran & ahead) >= RUN_MIN

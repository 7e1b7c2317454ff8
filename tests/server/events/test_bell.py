"""The bells of a server's processes."""

import asyncio
import secrets

import pytest

from treescale.metrics.shared_counters import HUNG_WORKERS_MAX
from treescale.server.events.bell import Bell


async def test_all_others_hear_it() -> None:
    boot, heard = secrets.token_hex(4), list[tuple[str, bytes]]()
    with Bell(boot, 3) as one, Bell(boot, 3) as two, Bell(boot, 3) as three:
        for name, bell in (("one", one), ("two", two), ("three", three)):
            bell.listen(lambda word, name=name: heard.append((name, word)))  # type: ignore[misc]
        one.ring(b"g")
        await asyncio.sleep(0.05)
        assert sorted(heard) == [("three", b"g"), ("two", b"g")]
        heard.clear()
        for _ in range(5000):  # more than any queue holds, and nobody waits
            two.ring(b"r")
        await asyncio.sleep(0.05)
        assert {*heard} == {("one", b"r"), ("three", b"r")}
        assert len(heard) < 5000


async def test_one_that_ended_frees_its_name() -> None:
    boot = secrets.token_hex(4)
    for _ in range(HUNG_WORKERS_MAX + 3):
        with Bell(boot, 1) as bell:
            bell.ring(b"g")
    bells = [Bell(boot, 1) for _ in range(HUNG_WORKERS_MAX + 2)]
    for each in bells[:-1]:
        each.__enter__()
    with pytest.raises(AssertionError, match="more processes"):
        bells[-1].__enter__()
    for each in bells:
        each.__exit__(None, None, None)

"""The circuit around a database's calls, in virtual time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from tests.virtualtime import LoopClock, virtual
from treescale.errors import BlobUnknown, DatabaseUnavailable
from treescale.metadata.engine import availability as presence_module
from treescale.metadata.engine.availability import (
    ANSWER_SECONDS_MAX,
    LOOK_SECONDS,
    PROBE_SECONDS_MAX,
    Availability,
)
from treescale.metadata.engine.outage import PROBE_PAUSE_SECONDS_MAX, SILENCE_SECONDS_MAX

NOTICED_SECONDS_MAX = SILENCE_SECONDS_MAX + PROBE_SECONDS_MAX + 3 * LOOK_SECONDS


class Server:
    """A database server: it answers, refuses, or says nothing."""

    def __init__(self) -> None:
        self.hung = False
        self.down = False
        self.seconds = 0.001
        self.probes = 0
        self.calls = 0
        self.cuts = 0
        self.woken = asyncio.Event()

    async def call(self) -> str:
        self.calls += 1
        await self._arrive(self.seconds)
        return "answer"

    async def probe(self) -> None:
        self.probes += 1
        await self._arrive(0.001)

    def cut(self) -> None:
        self.cuts += 1

    def wake(self) -> None:
        self.hung = False
        self.woken.set()
        self.woken = asyncio.Event()

    async def _arrive(self, seconds: float) -> None:
        if self.hung:
            await self.woken.wait()
        if self.down:
            raise DatabaseUnavailable("connection refused")
        await asyncio.sleep(seconds)


@asynccontextmanager
async def watched(server: Server) -> AsyncIterator[Availability]:
    """Watch the server for the time of the block."""
    presence = over(server)
    async with asyncio.TaskGroup() as group:
        watch = group.create_task(presence.run())
        yield presence
        watch.cancel()


def over(server: Server) -> Availability:
    return Availability(
        server.probe, server.cut, lambda error: isinstance(error, DatabaseUnavailable), LoopClock()
    )


async def duration(work: Callable[[], Awaitable[object]]) -> float:
    """Return how long it takes until this is refused."""
    began = LoopClock().monotonic()
    with pytest.raises(DatabaseUnavailable):
        await work()
    return LoopClock().monotonic() - began


@virtual
async def test_a_server_that_hangs_is_noticed_and_then_nobody_waits() -> None:
    server = Server()
    async with watched(server) as presence:
        assert await presence.during(server.call) == "answer"
        server.hung = True
        with capture_logs() as lines:
            assert await duration(lambda: presence.during(server.call)) <= NOTICED_SECONDS_MAX
        assert [line["event"] for line in lines] == ["database.away"]
        assert server.cuts == 1
        calls = server.calls
        for _ in range(100):
            assert await duration(lambda: presence.during(server.call)) == 0
        assert server.calls == calls, "nobody asks but the probe"


@virtual
async def test_without_the_watch_it_would_be_waited_for() -> None:
    """The control."""
    server = Server()
    server.hung = True
    assert await duration(lambda: over(server).during(server.call)) >= ANSWER_SECONDS_MAX


@virtual
async def test_a_server_that_is_down_is_noticed_at_once() -> None:
    server = Server()
    server.down = True
    async with watched(server) as presence:
        await asyncio.sleep(0)
        assert await duration(lambda: presence.during(server.call)) == 0
        await asyncio.sleep(0.01)
        calls = server.calls
        assert await duration(lambda: presence.during(server.call)) == 0
        assert server.calls == calls


@pytest.mark.parametrize("how", ["hung", "down"])
def test_when_it_is_back_everything_goes_on(how: str) -> None:
    @virtual
    async def test() -> None:
        server = Server()
        async with watched(server) as presence:
            setattr(server, how, True)
            await duration(lambda: presence.during(server.call))
            await asyncio.sleep(30)
            probes = server.probes
            assert probes <= 30
            setattr(server, how, False)
            server.wake()
            with capture_logs() as lines:
                await asyncio.sleep(PROBE_PAUSE_SECONDS_MAX + PROBE_SECONDS_MAX)
            assert [line["event"] for line in lines] == ["database.back"]
            assert await presence.during(server.call) == "answer"

    test()


@virtual
async def test_a_slow_call_is_not_an_outage() -> None:
    server = Server()
    server.seconds = 20
    async with watched(server) as presence:
        assert await presence.during(server.call) == "answer"
        assert server.probes > 10
        assert server.cuts == 0


@virtual
async def test_one_probe_at_a_time() -> None:
    server = Server()
    server.hung = True
    async with watched(server) as presence, asyncio.TaskGroup() as group:
        for _ in range(50):
            group.create_task(duration(lambda: presence.during(server.call)))
        await asyncio.sleep(NOTICED_SECONDS_MAX)
        assert server.probes == 1


@virtual
async def test_a_refusal_is_an_answer() -> None:
    server = Server()

    async def refuse() -> None:
        raise BlobUnknown("not here")

    async with watched(server) as presence:
        for _ in range(10):
            with pytest.raises(BlobUnknown):
                await presence.during(refuse)
            await asyncio.sleep(1)
    assert server.probes == 0


@virtual
async def test_a_watch_that_ends_leaves_each_call_to_itself() -> None:
    server = Server()
    server.down = True
    async with watched(server) as presence:
        await duration(lambda: presence.during(server.call))
        await asyncio.sleep(1)
    server.down = False
    assert await presence.during(server.call) == "answer"


@virtual
async def test_a_call_that_is_never_answered_though_others_are() -> None:
    server = Server()
    async with watched(server) as presence:
        assert await duration(lambda: presence.during(asyncio.Event().wait)) == pytest.approx(
            presence_module.ANSWER_SECONDS_MAX, abs=1
        )
        assert await presence.during(server.call) == "answer"


@virtual
async def test_a_call_that_ends_slowly_survives_a_second_outage() -> None:
    """Asyncio raises RuntimeError when a limit is moved whose time is over already."""
    server, ended = Server(), asyncio.Event()

    async def slowly() -> None:
        try:
            await server.call()
        finally:
            await asyncio.sleep(20)
            ended.set()

    async with watched(server) as presence, asyncio.TaskGroup() as group:
        server.hung = True
        call = group.create_task(duration(lambda: presence.during(slowly)))
        await asyncio.sleep(5)
        server.wake()
        await asyncio.sleep(3)
        assert await presence.during(server.call) == "answer"
        server.hung = True
        assert await duration(lambda: presence.during(server.call)) <= NOTICED_SECONDS_MAX
        assert not ended.is_set(), "the first call is still ending"
        server.wake()
        await call
        await asyncio.sleep(3)
        assert await presence.during(server.call) == "answer"

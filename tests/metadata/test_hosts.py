"""Several hosts, one of which takes writes: it is found, also when it is another than before."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import pytest

from tests.tables import each_row
from treescale.metadata.engine.hosts import opening
from treescale.metadata.engine.hosts.host import Host
from treescale.metadata.engine.hosts.opening import NoPrimary, Opener, telling

SECONDS_MAX = 10.0
CONNECT_SECONDS = 0.5


@dataclass
class Connection:
    """What a driver's connection is to an Opener."""

    host: str
    read_only: bool = False
    pid: int = 7
    ended: bool = False
    said: list[str] = field(default_factory=list)

    async def fetchrow(self, _: str) -> dict[str, object]:
        return {"pid": self.pid, "read_only": self.read_only}

    def get_server_pid(self) -> int:
        return 7

    async def execute(self, statement: str) -> None:
        self.said.append(statement)

    def terminate(self) -> None:
        self.ended = True

    async def close(self, *, timeout: float) -> None:  # noqa: ASYNC109  the driver's
        """Do as the driver where nobody hears the goodbye."""
        self.ended = True
        raise TimeoutError(timeout)


@dataclass
class Network:
    """Hosts by name, each with how it takes a connection."""

    monkeypatch: pytest.MonkeyPatch
    ways: dict[str, object]
    asked: list[str] = field(default_factory=list)
    made: list[Connection] = field(default_factory=list)

    async def connect(self, *, host: str, server_settings: dict[str, str], **_: object) -> Any:
        self.asked.append(host)
        way = self.ways[host]
        if way == "hangs":
            await asyncio.Event().wait()
        if way == "pooler, strict" and len(server_settings) > 1:
            raise protocol_violation()
        if isinstance(way, Exception):
            raise way
        pid = 8 if "pooler" in str(way) else 7
        self.made.append(Connection(host, read_only=way == "standby", pid=pid))
        return self.made[-1]

    def opener(self, *, needs_writable: bool = True) -> Opener:
        self.monkeypatch.setattr(asyncpg, "connect", self.connect)
        hosts = [Host(name) for name in self.ways]
        return Opener(
            hosts, {}, {"jit": "off"}, needs_writable=needs_writable, seconds_max=CONNECT_SECONDS
        )


def protocol_violation() -> asyncpg.PostgresError:
    return asyncpg.exceptions.ProtocolViolationError("unsupported startup parameter: jit")


def refusal() -> asyncpg.PostgresError:
    return asyncpg.exceptions.InvalidPasswordError("no")


def starting() -> asyncpg.PostgresError:
    return asyncpg.exceptions.CannotConnectNowError("the database system is starting up")


@each_row(
    ("ways", "found"),
    [
        ({"a": "primary"}, "a"),
        ({"a": "standby", "b": "primary"}, "b"),
        ({"a": ConnectionRefusedError(), "b": "primary"}, "b"),
        ({"a": "hangs", "b": "standby", "c": "primary"}, "c"),
        ({"a": starting(), "b": "primary"}, "b"),
        ({"a": refusal(), "b": "primary"}, "b"),
        ({"a": AttributeError("server_version"), "b": "primary"}, "b"),
    ],
)
async def test_the_one_that_takes_writes_is_found(
    ways: dict[str, object], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "HEAD_START_SECONDS", 0.01)
    network = Network(monkeypatch, ways)
    opener = network.opener()
    async with asyncio.timeout(SECONDS_MAX):
        opened = await opener.open()
        assert opened.connection.host == found
        assert not opened.pooled
        network.asked.clear()
        await opener.open()
    assert network.asked[0] == found, "it is asked first from now on"
    assert all(each.ended == (each.host != found) for each in network.made), "no other is kept"


@each_row(
    ("ways", "kind", "said"),
    [
        ({"a": ConnectionRefusedError("a"), "b": "standby"}, NoPrimary, "b:5432 is a standby"),
        ({"a": "standby", "b": starting()}, NoPrimary, "a:5432 is a standby"),
        ({"a": refusal(), "b": "standby"}, asyncpg.InvalidPasswordError, "no"),
        ({"a": "hangs", "b": "hangs"}, TimeoutError, "^$"),
        ({"a": AttributeError("server_version")}, ConnectionError, "a:5432 answers as no Postgre"),
        ({"a": starting(), "b": ConnectionRefusedError()}, asyncpg.CannotConnectNowError, "start"),
    ],
)
async def test_else_what_says_most_is_told(
    ways: dict[str, object], kind: type[Exception], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Network(monkeypatch, ways)
    async with asyncio.timeout(SECONDS_MAX):
        with pytest.raises(kind, match=said):
            await network.opener().open()
    assert all(each.ended for each in network.made)


@pytest.mark.parametrize(("head_start", "waits"), [(0.01, False), (60.0, True)])
async def test_a_host_that_hangs_costs_no_more_than_the_head_start(
    head_start: float, *, waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: with a long one all that a connection may take is over first."""
    monkeypatch.setattr(opening, "HEAD_START_SECONDS", head_start)
    network = Network(monkeypatch, {"a": "hangs", "b": "primary"})
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await network.opener().open()
    assert (loop.time() - begun >= CONNECT_SECONDS) is waits


async def test_where_any_host_will_do_the_first_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(monkeypatch, {"a": "standby", "b": "primary"})
    opened = await network.opener(needs_writable=False).open()
    assert opened.connection.host == "a"


@pytest.mark.parametrize("way", ["pooler, strict", "pooler, lenient"])
async def test_a_pooler_is_known_and_asked_for_no_settings(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Network(monkeypatch, {"a": way})
    opener = network.opener()
    for _ in range(2):
        opened = await opener.open()
        assert opened.pooled
        assert opened.connection.said == []
    assert network.asked == ["a"] * (3 if way == "pooler, strict" else 2), "refused once"


async def test_a_server_in_the_pooler_s_place_is_told_the_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = Network(monkeypatch, {"a": "pooler, strict"})
    opener = network.opener()
    await opener.open()
    network.ways["a"] = "primary"
    opened = await opener.open()
    assert not opened.pooled
    assert opened.connection.said == ["SELECT set_config('jit', 'off', False)"]


async def test_whoever_gives_up_leaves_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(monkeypatch, {"a": "hangs", "b": "hangs"})
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await network.opener().open()
    assert all(each.ended for each in network.made)


async def test_a_goodbye_that_nobody_hears_is_no_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was answered: whoever asks whether the database is there has heard that it is."""
    opened = await Network(monkeypatch, {"a": "primary"}).opener().open()
    await opened.close()
    assert opened.connection.ended


def test_of_several_errors_a_refusal_is_told_first() -> None:
    errors = [OSError(), NoPrimary(), starting(), refusal()]
    assert isinstance(telling(errors), asyncpg.InvalidPasswordError)
    assert isinstance(telling(errors[:3]), NoPrimary)
    assert isinstance(telling(errors[:1]), OSError)

"""What is recorded reaches a real JetStream, in order, whatever is away for how long."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, StreamConfig

from tests.events.nats.accounts import Identity, credentials_file
from tests.nats import Nats, running_nats
from tests.outbounds import outbound
from treescale.errors import OutboundFailed, SettingInvalid
from treescale.events.nats import sink
from treescale.events.nats.credentials import read_credentials
from treescale.events.nats.sink import READER, Sink, Target, parse_servers
from treescale.events.signals import Signal
from treescale.metadata.events.recorded import Recorded

WAIT_SECONDS_MAX = 20.0
STREAM = StreamConfig(name="EVENTS", subjects=["treescale.>"])


@dataclass
class Log:
    """A log in memory, and how far its reader has come."""

    events: list[Recorded] = field(default_factory=list)
    positions: dict[str, int] = field(default_factory=dict)
    forgets: bool = False
    """Whether positions are lost, as by a kill before the note."""
    grown: Signal = field(default_factory=Signal)
    read_after: list[int] = field(default_factory=list)
    connected: list[bool] = field(default_factory=list)
    """What the sink has said of its connection."""

    def add(self, count: int) -> None:
        """Let so many more pushes happen."""
        for number in range(len(self.events) + 1, len(self.events) + count + 1):
            event = Recorded(
                number, f"id-{number}", "image.pushed", 1.0, "anna", "anna", "anna/app", "latest"
            )
            self.events.append(event)
        self.grown.set()

    async def first(self) -> int:
        """Return the number of the oldest."""
        return self.events[0].sequence if self.events else 1

    async def after(self, sequence: int, limit: int) -> Sequence[Recorded]:
        """Return those that follow."""
        self.read_after.append(sequence)
        return [event for event in self.events if event.sequence > sequence][:limit]

    async def of_id(self, event_id: str) -> Recorded | None:
        """Return one."""
        return next((event for event in self.events if event.event_id == event_id), None)

    async def get(self, reader: str) -> int:
        """Return how far it is."""
        return self.positions.get(reader, 0)

    async def advance(self, reader: str, sequence: int) -> None:
        """Note how far it is."""
        if not self.forgets:
            self.positions[reader] = max(sequence, self.positions.get(reader, 0))


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[Nats]:
    """Run a server of this test's own."""
    with running_nats(tmp_path) as server:
        yield server


@asynccontextmanager
async def connected(url: str, **options: Any) -> AsyncIterator[JetStreamContext]:
    """Yield a client of the test."""
    client = Client()
    await client.connect(url, allow_reconnect=False, **options)
    try:
        yield client.jetstream()
    finally:
        await client.close()


def sink_of(log: Log, *urls: str, **target: Any) -> Sink:
    """Return what is under test, reading that log."""
    to = Target(
        parse_servers(urls),
        **{
            "prefix": "treescale",
            "credentials": None,
            "tls": outbound().tls,
            **target,
        },
    )
    return Sink(log, log, to, log.grown, log.connected.append)


@asynccontextmanager
async def sending(sink: Sink) -> AsyncIterator[None]:
    """Run it for the time of the block, as the runner of background work does: again and again."""

    async def run() -> None:
        while True:
            with suppress(OutboundFailed):
                await sink.run()
            await asyncio.sleep(0.02)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(run())
        yield
        task.cancel()


async def _messages(stream: JetStreamContext) -> int:
    return (await stream.stream_info("EVENTS")).state.messages


async def sent(url: str, count: int, **options: Any) -> list[tuple[str, str, dict[str, Any]]]:
    """Wait until the stream has so many messages; return subject, id and body of each."""
    async with asyncio.timeout(WAIT_SECONDS_MAX), connected(url, **options) as stream:
        while await _messages(stream) < count:  # noqa: ASYNC110  another process counts
            await asyncio.sleep(0.01)
        state = (await stream.stream_info("EVENTS")).state
        found = []
        for number in range(state.first_seq, state.last_seq + 1):
            message = await stream.get_msg("EVENTS", number)
            assert message.headers is not None
            assert message.subject is not None
            assert message.data is not None
            body = msgspec.json.decode(message.data)
            found.append((message.subject, message.headers["Nats-Msg-Id"], body))
        return found


async def add_stream(url: str, config: StreamConfig = STREAM, **options: Any) -> None:
    """Make a stream as an operator would."""
    async with connected(url, **options) as stream:
        await stream.add_stream(config)


async def test_each_event_is_a_message(nats: Nats) -> None:
    """With its id as `Nats-Msg-Id`, under the subject of its repository, once, in order."""
    await add_stream(nats.url)
    log = Log()
    log.add(250)
    async with sending(sink_of(log, nats.url)):
        await sent(nats.url, 250)
        log.add(1)
        messages = await sent(nats.url, 251)
    assert [told for _, told, _ in messages] == [event.event_id for event in log.events]
    assert {subject for subject, _, _ in messages} == {"treescale.image.pushed.anna.app"}
    assert messages[-1][2]["sequence"] == 251
    assert log.positions == {READER: 251}


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_nats_is_away(
    nats: Nats, how: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What happens meanwhile waits in the log, and arrives once it is back: all, once, in order."""
    monkeypatch.setattr(sink, "ACK_SECONDS_MAX", 2.0)  # so long it waits for what was lost
    await add_stream(nats.url)
    log = Log()
    async with sending(sink_of(log, nats.url)):
        log.add(20)
        await sent(nats.url, 20)
        nats.stop(how)
        log.add(20)
        await asyncio.sleep(0.1)
        nats.start()
        log.add(20)
        messages = await sent(nats.url, 60)
    assert [told for _, told, _ in messages] == [event.event_id for event in log.events]
    assert log.connected[0]
    assert not log.connected[-1], "nor is it once it ends"
    assert log.connected[::2] == [True] * (len(log.connected) // 2)


async def test_killed_before_it_noted_where_it_is(nats: Nats) -> None:
    """The stream's last message says it: nothing is sent again, however long ago it was sent."""
    await add_stream(nats.url)
    log = Log(forgets=True)
    log.add(30)
    async with sending(sink_of(log, nats.url)):
        await sent(nats.url, 30)
    log.read_after.clear()
    log.add(1)
    async with sending(sink_of(log, nats.url)):
        messages = await sent(nats.url, 31)
    assert log.read_after[0] == 29, "the last one, to see that it is still the same"
    assert len(messages) == 31


async def test_a_log_that_went_back_is_sent_on_from_where_it_is(nats: Nats) -> None:
    """As after a fail-over to a standby that lagged: the note of where NATS is went back, too."""
    await add_stream(nats.url)
    log = Log()
    log.add(10)
    async with sending(sink_of(log, nats.url)):
        await sent(nats.url, 10)
        del log.events[7:]
        log.positions[READER] = 7
        for number in (8, 9, 10, 11):
            log.events.append(
                Recorded(number, f"again-{number}", "image.pushed", 1.0, "anna", "anna", "anna/app")
            )
        messages = await sent(nats.url, 14)
    assert [told for _, told, _ in messages][10:] == [f"again-{n}" for n in (8, 9, 10, 11)]


async def test_a_small_limit_of_the_server_keeps_nothing_back(tmp_path: Path) -> None:
    """An event that is larger goes without its largest member; one that cannot be is left out."""
    with running_nats(tmp_path, "max_payload: 2048") as nats:
        await add_stream(nats.url)
        log = Log()
        log.add(4)
        log.events[1] = replace(log.events[1], payload={"manifests": ["m" * 3000], "size": 7})
        log.events[2] = replace(log.events[2], reference="t" * 3000)
        async with sending(sink_of(log, nats.url)):
            messages = await sent(nats.url, 3)
    assert [told for _, told, _ in messages] == ["id-1", "id-2", "id-4"]
    assert messages[1][2]["payload"] == {"size": 7, "left_out": ["manifests"]}
    assert log.positions == {READER: 4}


async def test_another_registrys_messages_in_the_stream(nats: Nats) -> None:
    """They say nothing about where this one is."""
    await add_stream(nats.url)
    async with connected(nats.url) as stream:
        headers = {"Nats-Msg-Id": "not-ours", "Treescale-Sequence": "999"}
        await stream.publish("treescale.image.pushed.x.y", b"{}", headers=headers)
    log = Log()
    log.add(3)
    async with sending(sink_of(log, nats.url)):
        messages = await sent(nats.url, 4)
    assert [told for _, told, _ in messages] == ["not-ours", "id-1", "id-2", "id-3"]


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (None, "no stream for treescale.>: make one, with `nats stream add"),
        (StreamConfig(name="EVENTS", subjects=["treescale.image.>"]), "has not all of treescale.>"),
        (StreamConfig(name="EVENTS", subjects=["treescale.>"], no_ack=True), "no_ack"),
        (StreamConfig(name="EVENTS", subjects=["treescale.>"], duplicate_window=5), "120 s"),
        (StreamConfig(name="EVENTS", subjects=["treescale.>"], max_msg_size=99), "allow 65536"),
    ],
)
async def test_streams_that_will_not_do(nats: Nats, config: StreamConfig | None, why: str) -> None:
    """Nothing is sent, and what to do is said."""
    if config is not None:
        await add_stream(nats.url, config)
    log = Log()
    log.add(1)
    with pytest.raises(OutboundFailed, match=why.replace(".", r"\.")):
        await sink_of(log, nats.url).run()
    assert not log.positions


async def test_a_full_stream_loses_nothing(nats: Nats) -> None:
    """One that refuses more keeps us waiting; with room again, it gets the rest in order."""
    full = StreamConfig(
        name="EVENTS", subjects=["treescale.>"], max_msgs=5, discard=DiscardPolicy.NEW
    )
    await add_stream(nats.url, full)
    log = Log()
    log.add(10)
    with pytest.raises(OutboundFailed, match=r"take event 6: .*maximum messages"):
        await sink_of(log, nats.url).run()
    async with connected(nats.url) as stream:
        await stream.update_stream(StreamConfig(name="EVENTS", subjects=["treescale.>"]))
    async with sending(sink_of(log, nats.url)):
        messages = await sent(nats.url, 10)
    assert [told for _, told, _ in messages] == [event.event_id for event in log.events]


async def test_the_next_server_is_tried(nats: Nats) -> None:
    """Of several the first that takes a connection is used; that none does names each."""
    await add_stream(nats.url)
    log = Log()
    log.add(1)
    async with sending(sink_of(log, "nats://127.0.0.1:1", nats.url)):
        await sent(nats.url, 1)
    with pytest.raises(OutboundFailed, match=r"127\.0\.0\.1: NATS does not accept") as caught:
        await sink_of(log, "nats://me:s3cret@127.0.0.1:1").run()
    assert "s3cret" not in str(caught.value)


async def test_passwords(tmp_path: Path) -> None:
    """They stand in the URL; a wrong one is refused, and not shown."""
    config = "authorization { user: me, password: right }"
    with running_nats(tmp_path, config) as nats:
        right = nats.url.replace("//", "//me:right@")
        await add_stream(right)
        log = Log()
        log.add(1)
        async with sending(sink_of(log, right)):
            await sent(right, 1)
        with pytest.raises(OutboundFailed, match=r"(?i)authorization") as caught:
            await sink_of(log, right.replace("right", "wr0ng")).run()
        assert "wr0ng" not in str(caught.value)


async def test_credentials_of_nsc(tmp_path: Path) -> None:
    """A server that knows an operator takes a user whose account that operator has signed."""
    operator, account, user = (Identity(kind) for kind in ("operator", "account", "user"))
    limits = dict.fromkeys(("subs", "conn", "data", "payload", "imports", "exports", "leaf"), -1)
    storage = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), -1)
    of_account = operator.vouch(account, limits={**limits, **storage, "wildcards": True})
    system = Identity("account")
    config = (
        f"operator: {operator.vouch(operator)}\nsystem_account: {system.public}\n"
        f"resolver: MEMORY\nresolver_preload {{\n {account.public}: {of_account}\n"
        f" {system.public}: {operator.vouch(system, limits=limits)}\n}}"
    )
    file = tmp_path / "user.creds"
    file.write_text(credentials_file(account.vouch(user, subs=-1, data=-1, payload=-1), user.seed))
    with running_nats(tmp_path, config) as nats:
        ours = read_credentials(str(file))
        options: dict[str, Any] = {"user_jwt_cb": ours.jwt, "signature_cb": ours.sign}
        await add_stream(nats.url, **options)
        log = Log()
        log.add(1)
        async with sending(sink_of(log, nats.url, credentials=ours)):
            await sent(nats.url, 1, **options)
        with pytest.raises(OutboundFailed):
            await sink_of(log, nats.url).run()


def test_credentials_that_are_none(tmp_path: Path) -> None:
    """What is wrong is said, and nothing of the secret is shown."""
    seed = Identity("user").seed
    other = "B" if seed[20] == "A" else "A"
    for text, why in (
        ("", "has no user JWT and seed"),
        (credentials_file("a.b.c", seed[:-3]), "is not whole"),
        (credentials_file("a.b.c", seed[:20] + other + seed[21:]), "is not whole"),
        (credentials_file("a.b.c", "not base 32!"), "has no user JWT and seed"),
        (credentials_file("a.b.c", "notbase32!"), "is not whole"),
    ):
        (tmp_path / "file").write_text(text)
        with pytest.raises(SettingInvalid, match=why) as caught:
            read_credentials(str(tmp_path / "file"))
        assert seed[:8] not in str(caught.value)
    with pytest.raises(SettingInvalid, match="No such file"):
        read_credentials(str(tmp_path / "none"))


@pytest.mark.parametrize("url", ["localhost", "http://h:1", "nats://", "nats://h:99999", "nats:h"])
def test_urls_that_are_none(url: str) -> None:
    """They are refused at the start."""
    with pytest.raises(SettingInvalid, match="nats: say nats://HOST:PORT"):
        parse_servers([url])

"""Sends each event to a stream of JetStream, in order, and goes on only when it has it.

Where it stands is a row, written after the stream has acknowledged. What was acknowledged and not
noted (a kill in between) is not sent again: the last message of the stream says which event it is,
however long ago that was; and within the stream's duplicate window NATS drops an event's second
message by its `Nats-Msg-Id`. While NATS is away events wait in the log, for as long as that keeps
them.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeVar
from urllib.parse import urlsplit

from treescale.errors import OutboundFailed, SettingInvalid
from treescale.events.nats.credentials import Credentials
from treescale.events.nats.subjects import Stream, everything, refusal, subject_of
from treescale.events.rows import json_within
from treescale.events.signals import Listener, Signal
from treescale.log import get_logger
from treescale.metadata.events.log import following
from treescale.metadata.events.recorded import Place, Recorded

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.js import JetStreamContext
    from nats.js.api import StreamConfig

READER: Final = "nats"
EVENTS_AT_ONCE: Final = 100
ACK_SECONDS_MAX: Final = 10.0
CONNECT_SECONDS_MAX: Final = 5
POLL_SECONDS: Final = 1.0
ID_HEADER: Final = "Nats-Msg-Id"
SEQUENCE_HEADER: Final = "Treescale-Sequence"
HEADERS_BYTES_MAX: Final = 256
"""Of a message: NATS counts them with its body."""
SCHEMES: Final = ("nats", "tls")
Result = TypeVar("Result")


class Log(Protocol):
    """What `EventLog` does, as far as it is asked here."""

    async def first(self) -> int:
        """Return the sequence of the oldest event that is kept."""
        ...

    async def after(self, sequence: int, limit: int) -> Sequence[Recorded]:
        """Return the events after this one, in order."""
        ...

    async def of_id(self, event_id: str) -> Recorded | None:
        """Return the event of this id."""
        ...


class Position(Protocol):
    """What `Positions` does."""

    async def get(self, reader: str) -> int:
        """Return how far this reader has come."""
        ...

    async def advance(self, reader: str, sequence: int) -> None:
        """Note how far it has come."""
        ...


@dataclass(frozen=True, slots=True)
class Target:
    """Which NATS, and how its subjects begin."""

    servers: tuple[str, ...]
    prefix: str
    credentials: Credentials | None
    tls: ssl.SSLContext


@dataclass(frozen=True, slots=True)
class Sink:
    """The one of the cluster that sends; a job of the cluster's scope runs it."""

    log: Log
    positions: Position
    target: Target
    grown: Signal
    """A hint to look sooner than every `POLL_SECONDS`."""
    on_connected: Callable[[bool], None] = lambda _: None
    """Hears that events are sent, and that they are not any more."""

    async def run(self) -> None:
        """Send until cancelled; raises OutboundFailed when NATS is away, or cannot be used."""
        async with _connected(self.target) as client:
            try:
                with self.grown.listening() as grown:
                    await self._send_all(client, grown)
            finally:
                self.on_connected(False)  # noqa: FBT003  one word is all there is to say

    async def _send_all(self, client: "Client", grown: Listener) -> None:
        stream = client.jetstream(timeout=ACK_SECONDS_MAX)
        found = await self._checked(stream)
        name, limit = found.name, message_limit(client.max_payload, found.message_bytes_max)
        done = await self._resumed(stream, name)
        self.on_connected(True)  # noqa: FBT003  likewise
        while True:
            events = await following(self.log, done, EVENTS_AT_ONCE)
            if events is None:  # the log went back, and the noted position with it
                done = await self._resumed(stream, name)
                continue
            for event in events:
                await self._send(stream, name, event, limit)
            if events:
                done = events[-1].place
                await self.positions.advance(READER, done.sequence)
                continue
            await grown.wait(POLL_SECONDS)
            if not client.is_connected:
                raise OutboundFailed("the connection to NATS has ended")

    async def _checked(self, stream: "JetStreamContext") -> Stream:
        """Return the stream that takes our subjects; raises when none will do."""
        wanted = everything(self.target.prefix)
        with _told("ask it for its streams"):
            name = await _found(stream.find_stream_name_by_subject(wanted))
            if name is None:
                raise OutboundFailed(
                    f"NATS has no stream for {wanted}: make one, with `nats stream add TREESCALE"
                    f" --subjects='{wanted}' --storage=file --dupe-window=2m --defaults`"
                )
            info = await stream.stream_info(name)
        found = _stream(name, info.config)
        if why := refusal(found, self.target.prefix):
            raise OutboundFailed(f"the stream {name} of NATS {why}")
        return found

    async def _resumed(self, stream: "JetStreamContext", name: str) -> Place:
        """Return where the log was when the stream got its last event."""
        done = await self.positions.get(READER)
        with _told("ask it for the last message"):
            last = await _found(stream.get_last_msg(name, everything(self.target.prefix)))
        told = "" if last is None or not last.headers else last.headers.get(ID_HEADER, "")
        known = await self.log.of_id(told) if told else None
        first = await self.log.first()
        place = Place(done) if known is None else max(Place(done), known.place)
        if first > place.sequence + 1 > 1:
            get_logger().error("nats.gap", after=place.sequence, before=first)
        get_logger().info("nats.connected", stream=name, after=place.sequence)
        return place

    async def _send(
        self, stream: "JetStreamContext", name: str, event: Recorded, limit: int
    ) -> None:
        """Send one event; return when the stream has it.

        One that is larger than the limit goes without its largest members; one that is larger still
        is left out, and the log says so: it must not keep those that follow.
        """
        body = json_within(event, limit)
        if body is None:
            get_logger().error("nats.too_large", sequence=event.sequence, bytes_max=limit)
            return
        subject = subject_of(self.target.prefix, event.kind, event.namespace, event.repository)
        headers = {ID_HEADER: event.event_id, SEQUENCE_HEADER: str(event.sequence)}
        with _told(f"take event {event.sequence}"):
            await stream.publish(subject, body, stream=name, headers=headers)


def message_limit(server: int, stream: int) -> int:
    """Return how many bytes a body may have, where the server and the stream (-1: any) set that."""
    return (server if stream < 0 else min(server, stream)) - HEADERS_BYTES_MAX


async def _found(asked: Awaitable[Result]) -> Result | None:
    """Return the answer; None when NATS has no such thing."""
    from nats.js.errors import NotFoundError  # noqa: PLC0415  an extra

    try:
        return await asked
    except NotFoundError:
        return None


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Have what NATS and its client raise be OutboundFailed, which shows no URL."""
    import nats.errors  # noqa: PLC0415  an extra

    try:
        yield
    except (nats.errors.Error, TimeoutError, OSError) as error:
        reason = str(error).removeprefix("nats: ") or type(error).__name__
        raise OutboundFailed(f"NATS does not {what}: {reason}") from error


@asynccontextmanager
async def _connected(target: Target) -> "AsyncIterator[Client]":
    """Yield a connection to the first server that takes one. It ends when it is lost."""
    from nats.aio.client import Client  # noqa: PLC0415  an extra

    tried: list[str] = []
    for server in target.servers:
        client = Client()
        try:
            with _told("accept a connection"):
                await _connect(client, server, target)
        except OutboundFailed as error:
            tried.append(f"{urlsplit(server).hostname}: {error}")
            await client.close()
            continue
        try:
            yield client
        finally:
            await client.close()
        return
    raise OutboundFailed("; ".join(tried))


async def _connect(client: "Client", server: str, target: Target) -> None:
    """Connect, trying twice. The client raises no reason, but tells it to `heard`."""
    from nats.errors import NoServersError  # noqa: PLC0415  an extra

    credentials, reason = target.credentials, Exception()

    async def heard(error: Exception) -> None:
        nonlocal reason
        reason = error

    try:
        async with asyncio.timeout(CONNECT_SECONDS_MAX):
            await client.connect(
                server,
                name="treescale",
                error_cb=heard,
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                tls=target.tls if urlsplit(server).scheme == "tls" else None,
                user_jwt_cb=None if credentials is None else credentials.jwt,
                signature_cb=None if credentials is None else credentials.sign,
            )
    except NoServersError:
        raise reason from None


def _stream(name: str, config: "StreamConfig") -> Stream:
    return Stream(
        name,
        tuple(config.subjects or ()),
        no_ack=config.no_ack,
        sealed=config.sealed,
        copied=bool(config.mirror or config.sources),
        duplicate_seconds=config.duplicate_window,
        message_bytes_max=-1 if config.max_msg_size is None else config.max_msg_size,
    )


def parse_servers(servers: Sequence[str]) -> tuple[str, ...]:
    """Return URLs that NATS's client takes; raises SettingInvalid, which shows no password."""
    for server in servers:
        try:
            url = urlsplit(server)
            fits = url.scheme in SCHEMES and url.hostname and url.port != 0
        except ValueError:
            fits = False
        if not fits:
            raise SettingInvalid("nats: say nats://HOST:PORT or tls://HOST:PORT")
    return tuple(servers)

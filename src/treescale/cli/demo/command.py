"""The story that `treescale demo` tells, act by act, and how it is shown."""

import asyncio
import os
import secrets
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import aiohttp
import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from treescale.cli.demo.image import ADMIN, REPOSITORY, Client, digest_of, layer
from treescale.cli.demo.interruption import Interruption
from treescale.cli.demo.servers import DATABASE, DemoServer, three_servers
from treescale.cli.terminal.output import Output, for_people, plain, size
from treescale.clock import SystemClock
from treescale.cluster.layout import COPIES_SETTING
from treescale.errors import Failed
from treescale.maintenance.report.columns import Column
from treescale.metadata.database import open_database
from treescale.metadata.migrations import migrate

COPIES: Final = 2
"""Of each chunk: with three copies on three servers there would be no spread to see."""
PROGRAM_BYTES: Final = 6 * 1024 * 1024
START_SECONDS: Final = 30.0
NOTICE_SECONDS: Final = 15.0
POLL_SECONDS: Final = 0.02
PAUSE_SECONDS: Final = 0.05
"""After each MiB of the pull during which a server dies."""
KILLED_AFTER: Final = 0.25
BAR_WIDTH: Final = 32


@click.command("demo")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON, when all is done.")
def demo(*, as_json: bool) -> None:
    """Run three servers, push an image, kill a server during a pull, and see it complete."""
    telling = Telling(Output(as_json=as_json))
    password = secrets.token_hex(16)
    with Interruption() as interruption, ExitStack() as undone:
        with interruption.held():
            directory = tempfile.TemporaryDirectory(prefix="treescale-demo-")
            place = undone.enter_context(directory)
            servers = undone.enter_context(three_servers(Path(place), password, interruption))
        try:
            asyncio.run(Story(telling, Path(place), servers, password).tell())
        except (aiohttp.ClientError, TimeoutError) as error:
            for server in servers:
                server.check_running()
            raise Failed(f"{telling.last} — then: {str(error) or 'no answer in time'}") from error
    telling.end()


class Telling:
    """What is told: to people with pictures, to a pipe line by line, in JSON at the end."""

    def __init__(self, out: Output) -> None:
        self.facts: dict[str, object] = {}
        self.last = ""
        self._out = out
        self._console = Console(soft_wrap=True, highlight=False)
        self._begun = SystemClock().monotonic()

    def say(self, sentence: str) -> None:
        """Tell one thing, at the time it happens."""
        self.last = sentence
        if not self._out.as_json:
            self._console.print(sentence, markup=False)

    def draw(self, name: str, servers: Sequence[DemoServer], pushed: int, why: str) -> None:
        """Show what lies where, and that it is as much as it is because of `why`."""
        held = [(server, server.held()) for server in servers]
        stored = sum(found.size for _, found in held)
        self.facts[name] = [
            {"server": server.name, "chunks": found.chunks, "stored_bytes": found.size}
            for server, found in held
        ]
        if self._out.as_json:
            return
        most = max(found.size for _, found in held) or 1
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for heading in ("server", "chunks", "stored", ""):
            table.add_column(
                heading, justify="right" if heading in ("chunks", "stored") else "left"
            )
        for server, found in held:
            if for_people():
                bar = "█" * round(found.size / most * BAR_WIDTH)
                table.add_row(server.name, str(found.chunks), size(found.size), bar)
            else:
                click.echo("\t".join(map(plain, (server.name, found.chunks, found.size))))
        if for_people():
            self._console.print(table)
        self.say(f"{size(pushed)} pushed, {size(stored)} stored: {why}.")

    def show_console(self, server: DemoServer, victim: DemoServer, password: str) -> None:
        """Say where the death can be watched; a person at a terminal says when it may happen."""
        pages = f"{server.url}/-/cluster", f"{server.url}/{REPOSITORY}:1/-/spread"
        self.facts["console"] = {"cluster": pages[0], "image": pages[1], "user": ADMIN}
        self.say(f"In a browser, watch {victim.name} die: {pages[0]}")
        self.say(f"  and from which server each chunk comes: {pages[1]}")
        self.say(f"  sign in as {ADMIN} with the password {password}")
        self.wait("Press Enter when you look …")

    def wait(self, words: str) -> None:
        """Wait for a person at a terminal; nobody else is waited for."""
        if not self._out.as_json and for_people() and sys.stdin.isatty():
            self.say(words)
            sys.stdin.readline()

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show how far something is, where somebody looks on; takes how many bytes are done."""
        if self._out.as_json or not for_people():
            yield lambda _: None
            return
        with self._console.status(what) as status:

            def show(done: int) -> None:
                filled = round(done / total * BAR_WIDTH)
                bar = "█" * filled + "░" * (BAR_WIDTH - filled)
                status.update(f"{what} {bar} {size(done)} of {size(total)}")

            yield show

    def end(self) -> None:
        """Tell that all is over."""
        seconds = self.facts["seconds"] = round(SystemClock().monotonic() - self._begun, 1)
        if self._out.as_json:
            self._out.one([Column(key) for key in self.facts], self.facts)
        else:
            self.say(f"Servers stopped, everything removed, after {seconds:.0f} s.")


class Story:
    """Three servers, an image, a death and a return."""

    def __init__(
        self, telling: Telling, place: Path, servers: Sequence[DemoServer], password: str
    ) -> None:
        self._tell = telling
        self._place = place
        self._servers = servers
        self._password = password
        self._clock = SystemClock()
        self._token = ""

    async def tell(self) -> None:
        """Tell all of it; raises Failed, aiohttp's errors and TimeoutError."""
        first, second, third = self._servers
        async with aiohttp.ClientSession() as http:
            await self._start(http)
            self._token = await self._client(http, first).token(self._password)
            old, new = (layer(os.urandom(PROGRAM_BYTES)) for _ in range(2))
            await self._push(self._client(http, first), first, "1", old)
            why = f"each chunk lies on {COPIES} servers, no server has them all"
            self._tell.draw("spread", self._servers, len(old), why)
            self._tell.show_console(second, third, self._password)
            await self._pull_while_one_dies(self._client(http, second), second, third, old)
            await self._push(self._client(http, first), first, "2", new)
            await self._pull(self._client(http, second), second, "2", new)
            await self._return(http, third)
            await self._pull(self._client(http, third), third, "2", new)
            why = f"what both versions share is kept once, in {COPIES} copies"
            self._tell.draw("spread_at_the_end", self._servers, len(old) + len(new), why)
        for server in self._servers:
            server.ask_to_stop()
        for server in self._servers:
            server.wait_until_stopped()

    def _client(self, http: aiohttp.ClientSession, server: DemoServer) -> Client:
        return Client(http, server.url, self._token)

    async def _start(self, http: aiohttp.ClientSession) -> None:
        """Start all, the first one last: it knows the others then, and their disks."""
        tell = self._tell
        tell.say(f"Starting three servers on one database, with {COPIES} copies of each chunk …")
        url = f"sqlite:///{self._place / DATABASE}"
        await migrate(url)
        database = open_database(url)
        try:
            await database.settings.put(COPIES_SETTING, str(COPIES))
        finally:
            await database.close()
        first, *others = self._servers
        for together in (others, [first]):
            for server in together:
                server.start()
            for server in together:
                await self._until(f"{server.name} is ready", self._client(http, server).is_ready)
        for server in self._servers:
            for other in self._servers:
                if other is not server:
                    what = f"{server.name} has met {other.name}"
                    await self._until(what, _asked(server.has_met, other))
        tell.facts["servers"] = [
            {"server": server.name, "address": server.address} for server in self._servers
        ]
        tell.facts["copies"] = COPIES
        for server in self._servers:
            tell.say(f"  {server.name} serves {server.url}")

    async def _push(self, client: Client, server: DemoServer, tag: str, data: bytes) -> None:
        begun = self._clock.monotonic()
        await client.push(tag, data)
        seconds = self._clock.monotonic() - begun
        self._tell.facts[f"push_{tag}"] = {"bytes": len(data), "seconds": round(seconds, 2)}
        self._tell.say(
            f"Pushed {REPOSITORY}:{tag} through {server.name}: "
            f"one layer of {size(len(data))} in {seconds:.1f} s"
        )

    async def _pull(self, client: Client, server: DemoServer, tag: str, data: bytes) -> None:
        pulled = b"".join([piece async for piece in client.pull(tag)])
        _check_same(pulled, data)
        self._tell.say(
            f"Pulled {REPOSITORY}:{tag} through {server.name}: {size(len(data))}, "
            f"{digest_of(pulled)[:19]}… as pushed"
        )

    async def _pull_while_one_dies(
        self, client: Client, server: DemoServer, victim: DemoServer, data: bytes
    ) -> None:
        """Kill a server when a part of the layer has come, and take the rest."""
        pulled, killed, after = bytearray(), 0.0, 0
        self._tell.say(f"Pulling {REPOSITORY}:1 through {server.name}, and meanwhile:")
        with self._tell.progress("  pulling", len(data)) as show:
            async for piece in client.pull("1", pause_seconds=PAUSE_SECONDS):
                pulled += piece
                show(len(pulled))
                if not killed and len(pulled) >= KILLED_AFTER * len(data):
                    killed, after = self._clock.now(), len(pulled)
                    victim.kill()
                    self._tell.say(f"  kill -9 {victim.name}, when {size(after)} had come")
        _check_same(bytes(pulled), data)
        noticed = await self._noticed(server, victim, ("suspect", "down"), killed)
        self._tell.facts["killed"] = {
            "server": victim.name,
            "after_bytes": after,
            "noticed_seconds": round(noticed, 3),
        }
        self._tell.say(f"  {server.name} noticed after {1000 * noticed:.0f} ms")
        self._tell.say(f"  complete: {size(len(data))}, {digest_of(data)[:19]}… as pushed")

    async def _return(self, http: aiohttp.ClientSession, server: DemoServer) -> None:
        self._tell.wait(f"Press Enter to start {server.name} again …")
        begun = self._clock.now()
        server.start()
        await self._until(f"{server.name} is ready", self._client(http, server).is_ready)
        ready = self._clock.now() - begun
        seen = [
            await self._noticed(other, server, ("up",), begun)
            for other in self._servers
            if other is not server
        ]
        self._tell.facts["returned"] = {
            "server": server.name,
            "ready_seconds": round(ready, 2),
            "seen_by_all_seconds": round(max(seen), 2),
        }
        self._tell.say(
            f"Started {server.name} again: ready after {ready:.1f} s, "
            f"up for the others after {max(seen):.1f} s"
        )

    async def _noticed(
        self, server: DemoServer, other: DemoServer, states: tuple[str, ...], since: float
    ) -> float:
        """Return after how many seconds `server` said that the other is in one of these states."""
        what = f"{server.name} says that {other.name} is {' or '.join(states)}"

        async def said() -> bool:
            return server.said_of(other, states, since) is not None

        await self._until(what, said, seconds=NOTICE_SECONDS)
        when = server.said_of(other, states, since)
        assert when is not None, "it was waited for"
        return when - since

    async def _until(
        self, what: str, asked: Callable[[], Awaitable[bool]], *, seconds: float = START_SECONDS
    ) -> None:
        """Wait until something is so; raises Failed when it never is, or a server has ended."""
        deadline = self._clock.monotonic() + seconds
        while not await asked():
            for server in self._servers:
                server.check_running()
            if self._clock.monotonic() > deadline:
                raise Failed(f"waited {seconds:.0f} s in vain until {what}")
            await asyncio.sleep(POLL_SECONDS)


def _asked(question: Callable[[DemoServer], bool], of: DemoServer) -> Callable[[], Awaitable[bool]]:
    async def ask() -> bool:
        return question(of)

    return ask


def _check_same(pulled: bytes, pushed: bytes) -> None:
    if pulled != pushed:
        raise Failed("an image came back with other bytes than were pushed")

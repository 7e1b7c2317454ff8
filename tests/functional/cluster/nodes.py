"""Servers that share one database, each on a machine of its own, and what can befall them."""

import http.client
import itertools
import json
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from itertools import takewhile
from pathlib import Path
from typing import Any

from blake3 import blake3

from tests.functional.cluster.network import Machine
from tests.functional.programs import Program, wait_until
from tests.functional.server import TREESCALE, Account, Options, Server

PORT = 5000
UP_SECONDS_MAX = 15
TRACEBACK_LINES = 40


class Node(Server):
    """One server of a cluster."""

    def __init__(
        self,
        home: Path,
        machine: Machine,
        database: str,
        *,
        workers: int = 1,
        tls: bool = False,
        no_store: bool = False,
        variables: tuple[tuple[str, str], ...] = (),
        launcher: tuple[str, ...] = (str(TREESCALE),),
    ) -> None:
        super().__init__(
            home,
            Options(
                workers=workers,
                host=machine.address,
                port=PORT,
                namespace=machine.namespace,
                database=database,
                tls=tls,
                no_store=no_store,
                variables=variables,
                launcher=launcher,
            ),
        )
        self.machine = machine
        self.running = False
        self._paused = False

    @contextmanager
    def otherwise(self, **options: Any) -> Iterator[None]:
        """Start it again with other options for the time of the block, then as it was.

        What it says meanwhile is in a log of its own.
        """
        was = self.options, self.port, self.log, self.program
        self.stop()
        self.options = replace(self.options, **options)
        self.port = self.options.port
        self.log = self.home / f"otherwise{len(list(self.home.glob('otherwise*')))}.log"
        self.program = Program(*self._words(), log=self.log, env=self._environment())
        try:
            self.start()
            yield
        finally:
            self.resume()
            self.stop() if self.running else self.crash()
            self.options, self.port, self.log, self.program = was
            self.start()

    def configure(self, **options: Any) -> None:
        """Have it started with other options from its next start on."""
        self.options = replace(self.options, **options)
        self.program = Program(*self._words(), log=self.log, env=self._environment())

    @property
    def scheme(self) -> str:
        """Return how others reach it."""
        return "https" if self.options.tls else "http"

    @property
    def server_id(self) -> str:
        """Return its id in the cluster."""
        document = json.loads((self.disks[0] / "server.json").read_bytes())
        found: str = document["server"]
        return found

    def start(self, *, seconds: float = 40) -> "Node":
        """Start it and return once it says that it is fit to serve."""
        super().start(seconds=seconds)
        self.running = True
        return self

    def stop(self, *, seconds: float = 20) -> int:
        """Stop it as an administrator does, and return its exit code."""
        self.running = False
        return super().stop(seconds=seconds)

    def crash(self) -> None:
        """Kill it, its workers included, with no chance to tidy up."""
        self.running = False
        super().crash()

    def pause(self) -> None:
        """Let all its processes hang."""
        os.killpg(self.program.pid, signal.SIGSTOP)
        self._paused = True

    def resume(self) -> None:
        """Let them go on."""
        if self._paused:
            os.killpg(self.program.pid, signal.SIGCONT)
        self._paused = False

    def chunks(self) -> int:
        """Return how many chunks its disk holds."""
        return len(self.chunk_names())

    def chunk_names(self) -> set[str]:
        """Return the names of the chunks its disk holds."""
        return {path.name for path in (self.disks[0] / "chunks").rglob("*") if path.is_file()}

    def wait_until_written_to(self) -> None:
        """Return when it keeps a chunk that it has not now."""
        had = self.chunks()
        wait_until(f"{self.home.name} is written to", lambda: self.chunks() > had)

    def strays(self) -> list[str]:
        """Return files under a chunk's name that have other bytes."""
        files = [path for path in (self.disks[0] / "chunks").rglob("*") if path.is_file()]
        return [path.name for path in files if blake3(path.read_bytes()).hexdigest() != path.name]

    def events(self, kind: str, *, since: float = 0.0) -> list[dict[str, Any]]:
        """Return what its log says of one kind of event; `at` is when, since the epoch."""
        found = []
        whole, _, _ = self.log.read_text(errors="replace").rpartition("\n")
        for line in whole.splitlines():  # what follows is being written
            if f'"event":"{kind}"' in line:
                event = json.loads(line)
                event["at"] = datetime.fromisoformat(event["timestamp"]).timestamp()
                found += [event] if event["at"] >= since else []
        return found

    def sees(self, other: "Node") -> str:
        """Return the state in which it sees another: as its log says last, at first `up`."""
        met = [e["at"] for e in self.events("neighbour.met") if e["peer"] == other.server_id]
        if not met:
            return "unknown"
        events = self.events("peer.state", since=met[-1])
        states = [e["state"] for e in events if e["peer"] == other.server_id]
        return states[-1] if states else "up"


class Cluster:
    """Servers on one database."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = list(nodes)
        self._account: Account | None = None
        self._told: set[str] = set()

    def start(self) -> "Cluster":
        """Start all at once; return when all know each other and their layout."""
        with ThreadPoolExecutor(len(self.nodes)) as starting:
            list(starting.map(Node.start, self.nodes))
        self.wait_until_whole()
        what = "every process follows the layout of all stores"
        wait_until(what, lambda: all(map(self._is_followed_by, self.nodes)), every=0.2)
        return self

    def _is_followed_by(self, node: Node) -> bool:
        stores = sum(len(each.disks) for each in self.nodes if not each.options.no_store)
        followed = {e["pid"]: e["stores"] for e in node.events("layout.followed")}
        walks = stores > 1 and not node.options.no_store
        processes = (node.options.workers or 1) + walks
        return [*followed.values()] == [stores] * processes

    @property
    def account(self) -> Account:
        """Return the administrator with an access token, which is quick to check."""
        if self._account is None:
            self._account = self.nodes[0].add_token(self.nodes[0].admin_account)
        return self._account

    def others(self, *without: Node) -> list[Node]:
        """Return the servers but these."""
        return [node for node in self.nodes if node not in without]

    def wait_until_whole(self, *, seconds: float = UP_SECONDS_MAX) -> None:
        """Return when each of the running servers sees the others up."""
        running = [node for node in self.nodes if node.running]
        wait_until(
            "every server sees the others",
            lambda: all(a.sees(b) == "up" for a, b in itertools.permutations(running, 2)),
            seconds=seconds,
            every=0.2,
        )

    def wait_until_seen(self, *, by: Sequence[Node], seconds: float = UP_SECONDS_MAX) -> None:
        """Return when these, which are none of its servers, see all of those up."""
        wait_until(
            "gateways see every server",
            lambda: all(a.sees(b) == "up" for a in by for b in self.nodes),
            seconds=seconds,
            every=0.2,
        )

    def wait_until_met(self, node: Node, *, since: float, seconds: float = UP_SECONDS_MAX) -> None:
        """Return when the other servers have met it where it is now, and see it up."""
        here = f"{node.scheme}://{node.address}"

        def met(other: Node) -> bool:
            events = other.events("neighbour.met", since=since)
            return any(e["url"] == here for e in events) and other.sees(node) == "up"

        others = self.others(node)
        what = f"every server has met {node.home.name} at {here}"
        wait_until(what, lambda: all(map(met, others)), seconds=seconds, every=0.2)

    def wait_until_fit(self) -> None:
        """Return when each server sees the others, and the database."""
        self.wait_until_whole()
        nodes = [node for node in self.nodes if node.running]
        wait_until("every server is ready", lambda: all(node.is_ready() for node in nodes))

    def mend(self) -> None:
        """Undo whatever was done to its servers."""
        for node in self.nodes:
            node.machine.heal()
            node.resume()
            if not node.running:
                node.start()
        self.wait_until_fit()

    def crash(self) -> None:
        """End all servers, whatever state they are in."""
        for node in self.nodes:
            node.resume()
            node.crash()

    def noticed(
        self, victim: Node, states: Sequence[str], *, since: float, by: Sequence[Node] = ()
    ) -> list[float]:
        """Return how long each other running server, or these, took to see it in such a state."""
        watchers = by or [node for node in self.others(victim) if node.running]
        return [_first(node, victim, states, since) for node in watchers]

    def complaints(self) -> list[str]:
        """Return what no log should have: tracebacks, and answers of 500. Each is told once."""
        found = [
            f"{node.home.name}: {line}" for node in self.nodes for line in complaints_in(node.log)
        ]
        new = [each for each in found if each not in self._told]
        self._told.update(new)
        return new


def complaints_in(log: Path) -> list[str]:
    lines = log.read_text(errors="replace").splitlines()
    return [
        "\n".join((line, *takewhile(_is_no_event, lines[n + 1 : n + TRACEBACK_LINES])))[:4000]
        for n, line in enumerate(lines)
        if ("Traceback" in line or '"status":500' in line or '"level":"error"' in line)
        and not _is_foreseen(line)
    ]


def _is_foreseen(line: str) -> bool:
    """Say whether work that needs the database, or time, told that it had none; once it is told."""
    told = "errors.DatabaseUnavailable: " in line or '"error":"it was not done in ' in line
    return '"event":"background.failed"' in line and told


def _is_no_event(line: str) -> bool:
    return not line.startswith("{")


def _first(node: Node, victim: Node, states: Sequence[str], since: float) -> float:
    """Return the seconds until the first event of such a state; waits for it, with a bound."""
    found: list[float] = []

    def told() -> bool:
        events = node.events("peer.state", since=since)
        here = (e for e in events if e["peer"] == victim.server_id and e["state"] in states)
        found.extend(e["at"] - since for e in here)
        return bool(found)

    wait_until(f"{node.home.name} notices that {victim.home.name} is {states}", told, seconds=10)
    return min(found)


class Balancer:
    """What a client behind a balancer sees: one name, and each connection goes to who listens."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = nodes
        self._turn = itertools.count()
        self._without: frozenset[Node] = frozenset()

    @contextmanager
    def without(self, node: Node) -> Iterator[None]:
        """Send nothing new to this server for the time of the block."""
        self._without = frozenset({node})
        yield
        self._without = frozenset()

    def connect(self) -> http.client.HTTPConnection:
        """Return a connection to the next server that takes one."""
        first = next(self._turn)
        for step in range(len(self._nodes)):
            node = self._nodes[(first + step) % len(self._nodes)]
            if node in self._without:
                continue
            connection = node.connect()
            with suppress(ConnectionRefusedError):
                connection.connect()
                return connection
        raise ConnectionRefusedError("no server listens")

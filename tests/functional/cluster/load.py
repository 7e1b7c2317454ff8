"""Pushes and pulls from many threads, every request's outcome, and what was acknowledged.

The oracle: a push that was acknowledged is pulled and hashed at the end, through whichever server
one likes. A request that failed for any reason is counted, none is made again.
"""

import http.client
import itertools
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from tests.functional.server import Account
from tests.functional.wire import Reachable, Wire
from tests.images import sha256_of
from treescale.clock import SystemClock

MIB = 1024 * 1024
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
EMPTY = b"{}"
REPOSITORY = "admin/app"
CLOCK = SystemClock()
"""Beside the servers' own logs."""


@dataclass(frozen=True)
class Sent:
    """A request and how it ended; `failure` is empty when as it should."""

    kind: str
    at: float
    seconds: float
    failure: str


@dataclass
class Acknowledged:
    """What the registry has promised to keep."""

    blobs: list[str] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    """The manifest's digest by tag."""


class Load:
    """A context manager: within it, threads push and pull through these servers."""

    def __init__(
        self,
        servers: Sequence[Reachable],
        account: Account,
        *,
        pushers: int = 2,
        pullers: int = 3,
        blob_bytes: int = 5 * MIB // 2,
    ) -> None:
        self.sent: list[Sent] = []
        self.acknowledged = Acknowledged()
        self._servers = servers
        self._account = account
        self._blob_bytes = blob_bytes
        self._ended = threading.Event()
        self._names = itertools.count()
        self._threads = [
            *(threading.Thread(target=self._push_on, args=(n,)) for n in range(pushers)),
            *(threading.Thread(target=self._pull_on, args=(n,)) for n in range(pullers)),
        ]
        self._broken: list[BaseException] = []
        self._marks = f"{time.time_ns():x}"

    def __enter__(self) -> Self:
        """Push the first images, then begin."""
        wires = self._wires()
        wires[0].push_blob(REPOSITORY, EMPTY)
        for _ in range(3):
            self._push(wires)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End when every request under way has."""
        self._ended.set()
        for thread in self._threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self._threads), "a request hangs"
        if self._broken and error is None:
            raise self._broken[0]

    def lasts(self, seconds: float) -> None:
        """Let it go on for so long."""
        time.sleep(seconds)

    @property
    def failures(self) -> list[Sent]:
        """Return the requests that failed."""
        return [sent for sent in self.sent if sent.failure]

    def slowest(self, percent: float, *, since: float = 0.0, until: float = float("inf")) -> float:
        """Return what so many of a hundred requests begun in that time stayed under, in seconds."""
        took = sorted(sent.seconds for sent in self.sent if since <= sent.at < until)
        return took[min(len(took) - 1, int(len(took) * percent / 100))]

    def unreadable(self, servers: Sequence[Reachable]) -> list[str]:
        """Pull all that was acknowledged through each server; return what is not as pushed."""
        lost = []
        for number, server in enumerate(servers):
            wire = Wire(server, self._account)
            for digest in self.acknowledged.blobs:
                failure = _failure(lambda: _pull_blob(wire, digest))  # noqa: B023  called at once
                lost += [f"{number}: {digest}: {failure}"] if failure else []
            for tag, digest in self.acknowledged.tags.items():
                failure = _failure(lambda: _pull_tag(wire, tag, digest))  # noqa: B023  likewise
                lost += [f"{number}: {tag}: {failure}"] if failure else []
        return lost

    def summary(self) -> str:
        """Return the counts, for people."""
        kinds = sorted({sent.kind for sent in self.sent})
        counts = ", ".join(f"{sum(s.kind == k for s in self.sent)} {k}" for k in kinds)
        return (
            f"{len(self.sent)} requests ({counts}), {len(self.failures)} failed; "
            f"p50 {self.slowest(50):.3f} s, p99 {self.slowest(99):.3f} s, "
            f"slowest {self.slowest(100):.3f} s"
        )

    def _wires(self) -> list[Wire]:
        return [Wire(server, self._account) for server in self._servers]

    def _push_on(self, first: int) -> None:
        self._again(self._push, first)

    def _pull_on(self, first: int) -> None:
        self._again(self._pull, first)

    def _again(self, work: Callable[[list[Wire]], None], first: int) -> None:
        wires = self._wires()
        wires = wires[first % len(wires) :] + wires[: first % len(wires)]
        try:
            while not self._ended.is_set():
                work(wires)
                wires.append(wires.pop(0))
        except BaseException as error:  # noqa: BLE001  told to the test where the load ends
            self._broken.append(error)

    def _push(self, wires: Sequence[Wire]) -> None:
        """Push an image through one server, and at once pull it through the next."""
        here, there = wires[0], wires[-1]
        tag = f"t{next(self._names)}"
        data = secrets.token_bytes(self._blob_bytes)
        digest = sha256_of(data)
        manifest = _manifest(digest, len(data), f"{self._marks} {tag}")
        pushed: list[str] = []
        if self._attempt("push", lambda: here.push_blob(REPOSITORY, data)):
            self.acknowledged.blobs.append(digest)
            self._attempt("pull", lambda: _pull_blob(there, digest))
            publish = lambda: pushed.append(here.push_manifest(REPOSITORY, tag, manifest))  # noqa: E731
            if self._attempt("manifest push", publish):
                self.acknowledged.tags[tag] = pushed[0]
                self._attempt("manifest pull", lambda: _pull_tag(there, tag, pushed[0]))

    def _pull(self, wires: Sequence[Wire]) -> None:
        """Pull something that was acknowledged."""
        digest = secrets.choice(self.acknowledged.blobs)
        self._attempt("pull", lambda: _pull_blob(wires[0], digest))

    def _attempt(self, kind: str, request: Callable[[], object]) -> bool:
        at, begun = CLOCK.now(), time.monotonic()
        failure = _failure(request)
        self.sent.append(Sent(kind, at, time.monotonic() - begun, failure))
        return not failure


def _failure(request: Callable[[], object]) -> str:
    """Make a request; return why it failed."""
    try:
        request()
    except (OSError, http.client.HTTPException, AssertionError) as error:
        return f"{type(error).__name__}: {error}"[:600]
    return ""


def _pull_blob(wire: Wire, digest: str) -> None:
    data = wire.pull_blob(REPOSITORY, digest)
    assert sha256_of(data) == digest, "wrong bytes"


def _pull_tag(wire: Wire, tag: str, digest: str) -> None:
    accept = {"Accept": MANIFEST}
    answer = wire.request("GET", f"/v2/{REPOSITORY}/manifests/{tag}", None, accept).expect(200)
    assert sha256_of(answer.body) == digest, "wrong manifest"


def _manifest(layer: str, size: int, mark: str) -> dict[str, object]:
    """Return the manifest of an image of one layer."""
    empty = {"mediaType": "application/vnd.oci.empty.v1+json", "size": len(EMPTY)}
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {**empty, "digest": sha256_of(EMPTY)},
        "layers": [
            {"mediaType": "application/vnd.oci.image.layer.v1.tar", "size": size, "digest": layer}
        ],
        "annotations": {"mark": mark},
    }

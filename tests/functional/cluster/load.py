"""Pushes and pulls from many threads, every request's outcome, and what was acknowledged.

The oracle: a push that was acknowledged is pulled and hashed at the end, through whichever server
one likes. A request that failed for any reason is counted, none is made again.
"""

import http.client
import itertools
import os
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from tests.functional.cluster.record import CLOCK, WRONG, Record, Sent
from tests.functional.server import Account
from tests.functional.wire import Reachable, Unavailable, Wire
from tests.images import sha256_of

MIB = 1024 * 1024
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
EMPTY = b"{}"
REPOSITORY = "admin/app"
IMAGES_FIRST = 3
REFUSED_PAUSE_SECONDS: Final = 0.1
"""Between a refusal and the next push: a client waits, too."""
REQUESTS: Final = int(os.environ.get("FAULT_REQUESTS", "0"))
"""So many requests are sent while a fault lasts, at least; that takes longer than CI has."""
PAUSE_SECONDS: Final = 0.0 if REQUESTS else 0.15
"""Between what a thread does: in CI the load must be there, and leave the cores to other tests."""
PUSH_PAUSES: Final = 4
"""So many of them after a push, whose bytes are stored, and pulled through every server later."""
AROUND_SECONDS: Final = 2 if REQUESTS else 1
"""Of load before and after a fault."""


@dataclass
class Acknowledged:
    """What the registry has promised to keep."""

    blobs: list[str] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    """The manifest's digest by tag."""


class Load(Record):
    """A context manager: within it, threads push and pull through these servers.

    With `known`, the pullers ask for nothing but the first images, which every server has been
    asked for before.
    """

    def __init__(
        self,
        servers: Sequence[Reachable],
        account: Account,
        *,
        pushers: int = 2,
        pullers: int = 3,
        blob_bytes: int = 5 * MIB // 2,
        repository: str = REPOSITORY,
        known: bool = False,
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        super().__init__()
        self.acknowledged = Acknowledged()
        self._first = Acknowledged()
        self._servers = servers
        self._account = account
        self._blob_bytes = blob_bytes
        self._repository = repository
        self._known = known
        self._pause_seconds = pause_seconds
        self._ended = threading.Event()
        self._names = itertools.count()
        self._threads = [
            *(threading.Thread(target=self._push_on, args=(n,)) for n in range(pushers)),
            *(threading.Thread(target=self._pull_on, args=(n,)) for n in range(pullers)),
        ]
        self._broken: list[BaseException] = []
        self._marks = f"{time.time_ns():x}"

    def __enter__(self) -> Self:
        """Push the first images, pull them through each server, then begin."""
        wires = self._wires()
        wires[0].push_blob(self._repository, EMPTY)
        for _ in range(IMAGES_FIRST):
            self._push(wires)
        assert self.failures == [], self.failures
        self._first = Acknowledged([*self.acknowledged.blobs], {**self.acknowledged.tags})
        assert self.unreadable(self._servers) == []
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

    def lasts(self, seconds: float = AROUND_SECONDS) -> None:
        """Let it go on for so long."""
        time.sleep(seconds)

    def lasts_long(self, seconds: float, *, or_seconds: float = 0.0) -> None:
        """Let it go on for so long; for `or_seconds` and REQUESTS when these are asked for."""
        begun, enough = time.monotonic(), len(self.sent) + REQUESTS
        time.sleep(max(seconds, or_seconds) if REQUESTS else seconds)
        while len(self.sent) < enough and time.monotonic() - begun < 120:
            time.sleep(0.1)

    def unreadable(self, servers: Sequence[Reachable]) -> list[str]:
        """Pull all that was acknowledged through each server; return what is not as pushed."""
        with ThreadPoolExecutor(len(servers)) as pulling:
            return [line for lines in pulling.map(self._unreadable, servers) for line in lines]

    def _unreadable(self, server: Reachable) -> list[str]:
        wire = Wire(server, self._account)
        lost = []
        for digest in [*self.acknowledged.blobs]:
            failure, _ = _failure(lambda: self._pull_blob(wire, digest))  # noqa: B023  called at once
            lost += [f"{digest}: {failure}"] if failure else []
        for tag, digest in [*self.acknowledged.tags.items()]:
            failure, _ = _failure(lambda: self._pull_tag(wire, tag, digest))  # noqa: B023  likewise
            lost += [f"{tag}: {failure}"] if failure else []
        return lost

    def _wires(self) -> list[Wire]:
        return [Wire(server, self._account) for server in self._servers]

    def _push_on(self, first: int) -> None:
        self._again(self._push, first, self._pause_seconds * PUSH_PAUSES)

    def _pull_on(self, first: int) -> None:
        self._again(self._pull, first, self._pause_seconds)

    def _again(self, work: Callable[[list[Wire]], None], first: int, pause_seconds: float) -> None:
        wires = self._wires()
        wires = wires[first % len(wires) :] + wires[: first % len(wires)]
        try:
            while not self._ended.wait(pause_seconds):
                work(wires)
                wires.append(wires.pop(0))
        except BaseException as error:  # noqa: BLE001  told to the test where the load ends
            self._broken.append(error)

    def _push(self, wires: Sequence[Wire]) -> None:
        """Push an image through one server, and at once pull it through the next."""
        here, there = wires[0], wires[-1]
        # New ones, for in an outage a server answers with the last that it knows of a tag.
        tag = f"{self._marks}-{next(self._names)}"
        data = secrets.token_bytes(self._blob_bytes)
        digest = sha256_of(data)
        manifest = manifest_of(digest, len(data), tag)
        pushed: list[str] = []
        if not self._attempt("push", lambda: here.push_blob(self._repository, data)):
            self._ended.wait(REFUSED_PAUSE_SECONDS)
            return
        self.acknowledged.blobs.append(digest)
        self._attempt("new pull", lambda: self._pull_blob(there, digest))
        publish = lambda: pushed.append(here.push_manifest(self._repository, tag, manifest))  # noqa: E731
        if self._attempt("manifest push", publish):
            self.acknowledged.tags[tag] = pushed[0]
            self._attempt("new manifest pull", lambda: self._pull_tag(there, tag, pushed[0]))

    def _pull(self, wires: Sequence[Wire]) -> None:
        """Pull something that was acknowledged, and an image's name."""
        source = self._first if self._known else self.acknowledged
        digest = secrets.choice(source.blobs)
        self._attempt("pull", lambda: self._pull_blob(wires[0], digest))
        tag = secrets.choice([*source.tags])
        self._attempt("manifest pull", lambda: self._pull_tag(wires[0], tag, source.tags[tag]))

    def _pull_blob(self, wire: Wire, digest: str) -> None:
        data = wire.pull_blob(self._repository, digest)
        assert sha256_of(data) == digest, WRONG

    def _pull_tag(self, wire: Wire, tag: str, digest: str) -> None:
        path, accept = f"/v2/{self._repository}/manifests/{tag}", {"Accept": MANIFEST}
        answer = wire.request("GET", path, None, accept).expect(200)
        assert sha256_of(answer.body) == digest, WRONG

    def _attempt(self, kind: str, request: Callable[[], object]) -> bool:
        at, begun = CLOCK.now(), time.monotonic()
        failure, refused = _failure(request)
        self.sent.append(Sent(kind, at, time.monotonic() - begun, failure, refused))
        return not failure


def _failure(request: Callable[[], object]) -> tuple[str, bool]:
    """Make a request; return why it failed, and whether it was refused in proper form."""
    try:
        request()
    except (OSError, http.client.HTTPException, AssertionError) as error:
        return f"{type(error).__name__}: {error}"[:600], isinstance(error, Unavailable)
    return "", False


def manifest_of(layer: str, size: int, mark: str) -> dict[str, object]:
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

"""A client of the soak: patient with a server that is killed or says 503, and with nothing else.

What it was told is counted; what it should not have been told is kept as a fault, word for word.
"""

import http.client
import re
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random  # noqa: TID251  a seeded source

from tests.functional.server import Account, Server
from tests.functional.wire import Answer, Unavailable, Wire

PATIENCE_SECONDS = 60.0
PAUSE_SECONDS = 0.1
ANSWER_SECONDS = 60.0
"""Longer than a server is stopped for: a request that nobody waits for would still be done."""
MAY_TRY_AGAIN = frozenset({429, 502, 503, 504})


@dataclass
class Told:
    """What all clients have done, and what went wrong."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    kills: bool = False
    """Whether servers are killed: else nobody may cut a connection."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str, number: int = 1) -> None:
        """Count something."""
        with self._lock:
            self.counts[what] += number

    def fault(self, kind: str, what: str) -> None:
        """Keep what must not happen; `kind` is counted."""
        self.count(kind)
        self.faults.append(f"{kind}: {what}")


class _Slow:
    """A server whose answers may take their time."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def connect(self) -> http.client.HTTPConnection:
        return self._server.connect(seconds=ANSWER_SECONDS)


class Cut(Exception):
    """The server went away, or could not just now: whether it was done nobody knows."""


class Client:
    """Requests of one user, to whichever server; used from one thread."""

    def __init__(
        self, servers: Sequence[Server], account: Account, told: Told, chance: Random
    ) -> None:
        self._wires = [Wire(_Slow(server), account) for server in servers]
        self._told = told
        self._chance = chance

    def once(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        also: str = "",
    ) -> Answer:
        """Send a request to some server; raises Cut after a pause when it has no answer."""
        wire = self._chance.choice(self._wires)
        # As who pushes does: HEAD promises nothing to a token that may only pull.
        scope = f"repository:{_repository(path)}:pull,push,delete {also}".strip()
        try:
            answer = wire.request(method, path, body, headers or {}, also=scope)
        except Unavailable:
            self._told.count("refused")
        except (OSError, http.client.HTTPException) as error:
            self._told.count("cut")
            if not self._told.kills:
                self._told.fault("cut off", f"{method} {path}: {error!r}")
        else:
            if answer.status not in MAY_TRY_AGAIN:
                if answer.status >= http.client.INTERNAL_SERVER_ERROR:
                    self._told.fault("failed", f"{method} {path}: {answer.status}")
                return answer
            self._told.count("refused")
        time.sleep(PAUSE_SECONDS)
        raise Cut(f"{method} {path}")

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request that may be sent again, until it is answered."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            try:
                return self.once(method, path, body, headers)
            except Cut:
                continue
        raise AssertionError(f"{method} {path}: no answer in {PATIENCE_SECONDS:.0f} s")


def _repository(path: str) -> str:
    return re.split(r"/(?:blobs|manifests|tags)/", path.removeprefix("/v2/"))[0]

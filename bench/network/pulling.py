"""Pulls at a fixed rate, whatever the servers do: a load that does not wait for slow answers.

Each pull has its moment; its time is counted from that moment, so that a server that holds up one
pull is charged for those behind it as well. Every byte is hashed.
"""

import hashlib
import math
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random  # noqa: TID251  seeded: the same pulls each time
from typing import Final, Self

from bench.wire import Connection, Target, token_for

AT_ONCE_MAX: Final = 64
TOKEN_SECONDS: Final = 60.0
"""A token is used for so long; it is good for five times that."""


@dataclass(frozen=True, slots=True)
class Pull:
    """A pull, from the moment it was due by the monotonic clock; `failure` is "" if all is well."""

    due: float
    seconds: float
    size: int
    failure: str = ""


@dataclass
class Pulling:
    """A context manager: within it, blobs drawn by the seed are pulled from the targets in turn."""

    targets: Sequence[Target]
    blobs: Sequence[tuple[str, int]]
    """Digests and lengths."""
    bytes_per_second: float
    seed: int = 1
    done: list[Pull] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._ended = threading.Event()
        self._tokens: dict[str, tuple[float, str]] = {}
        self._thread = threading.Thread(target=self._go_on)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def between(self, begin: float, end: float) -> "Pulled":
        """Return what was due in that time; call it once all has ended."""
        return Pulled([pull for pull in self.done if begin <= pull.due < end], end - begin)

    def _go_on(self) -> None:
        random = Random(self.seed)  # noqa: S311  nothing here is a secret
        due, number = time.monotonic(), 0
        with ThreadPoolExecutor(AT_ONCE_MAX) as threads:
            while not self._ended.wait(max(0.0, due - time.monotonic())):
                target = self.targets[number % len(self.targets)]
                digest, size = random.choice(self.blobs)
                threads.submit(self._pull, due, target, digest, size)
                due, number = due + size / self.bytes_per_second, number + 1

    def _pull(self, due: float, target: Target, digest: str, size: int) -> None:
        failure = ""
        try:
            hasher = hashlib.sha256()
            with Connection(target, self._token(target)) as connection:
                answer = connection.ask("GET", f"/v2/{target.repository}/blobs/{digest}")
                for piece in connection.pieces(answer, size):
                    hasher.update(piece)
            if f"sha256:{hasher.hexdigest()}" != digest:
                failure = f"{answer.status}, or wrong bytes"
        except (OSError, KeyError, ValueError) as error:
            failure = repr(error)
        self.done.append(Pull(due, time.monotonic() - due, size, failure))

    def _token(self, target: Target) -> str:
        at, token = self._tokens.get(target.host, (-math.inf, ""))
        if time.monotonic() - at > TOKEN_SECONDS:
            at, token = time.monotonic(), token_for(target)
            self._tokens[target.host] = at, token
        return token


@dataclass(frozen=True, slots=True)
class Pulled:
    """The pulls of some time."""

    pulls: Sequence[Pull]
    seconds: float

    @property
    def failed(self) -> int:
        """Return how many failed, or brought wrong bytes."""
        return sum(bool(pull.failure) for pull in self.pulls)

    @property
    def p99(self) -> float:
        """Return what 99 of 100 stayed under, in seconds."""
        took = sorted(pull.seconds for pull in self.pulls)
        return took[min(len(took) - 1, int(len(took) * 0.99))] if took else math.nan

    @property
    def speed(self) -> float:
        """Return the MB/s that arrived: from the first moment due to the last pull's end."""
        arrived = [pull for pull in self.pulls if not pull.failure]
        end = max((pull.due + pull.seconds for pull in arrived), default=math.inf)
        begin = min((pull.due for pull in self.pulls), default=0.0)
        return sum(pull.size for pull in arrived) / max(self.seconds, end - begin) / 1e6

"""A push as clients do it: ask for each layer, mount or send it if need be, then the manifest.

Whatever the client was told exists must be there for a lease: a manifest that is refused within
that time is a broken push.
"""

import http.client
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random  # noqa: TID251  a seeded source

from tests.functional.cluster.record import CLOCK
from tests.functional.wire import Answer
from tests.soak.client import Client, Cut, Told
from tests.soak.content import Layer
from tests.soak.model import Image

ATTEMPTS_MAX = 300
PROMISED_SHARE = 0.9
"""Of a lease: so long a client can certainly build on an answer, whose way took some time."""


class Session(Exception):
    """An upload has to begin anew."""


@dataclass
class Pusher:
    """Pushes blobs and manifests into repositories; used from one thread."""

    client: Client
    told: Told
    chance: Random
    lease: float
    sources: Callable[[Layer], list[str]]
    """Returns repositories that may have a layer."""
    history: deque[str] = field(default_factory=lambda: deque(maxlen=16))
    """What was done last, and when: told with a fault."""
    _heard: float = field(default_factory=time.monotonic)
    """When the last request was sent that a session lives from."""

    def push(self, repository: str, image: Image, tag: str, *, slow: bool = False) -> None:
        """Push an image with all that it needs: it is there when this returns."""
        for _ in range(ATTEMPTS_MAX):
            began = time.monotonic()
            for layer in image.layers:
                self.provide(repository, layer)
            if slow:
                time.sleep(self.chance.random() * self.lease / 2)
            answer = self.put(repository, image, tag or image.digest)
            if answer.status == http.client.CREATED:
                self.told.count("pushes")
                return
            said = f"{repository}@{image.digest}: {answer.status} {answer.body[:300]!r}"
            self.note(f"refused, begun {time.monotonic() - began:.2f} s ago")
            said = "\n  ".join((said, *self.history))
            if time.monotonic() - began < self.lease * PROMISED_SHARE:
                self.told.fault("broken pushes", said)
            self.told.count("late pushes")
        raise AssertionError(f"{repository}@{image.digest} cannot be pushed")

    def put(self, repository: str, image: Image, reference: str) -> Answer:
        """Put a manifest; its blobs must be there."""
        path = f"/v2/{repository}/manifests/{reference}"
        return self.client.ask("PUT", path, image.body, {"Content-Type": image.kind})

    def note(self, what: str) -> None:
        """Remember what was done, for who looks for the reason of a fault."""
        self.history.append(f"{CLOCK.now():.3f} {what}")

    def provide(self, repository: str, layer: Layer) -> None:
        """Have the registry say that a layer is there."""
        if self.chance.random() < 0.85 and self._is_there(repository, layer):
            self.note(f"there: {layer.digest} in {repository}")
            return
        for _ in range(ATTEMPTS_MAX):
            try:
                self._bring(repository, layer)
            except (Cut, Session):
                continue
            self.note(f"brought: {layer.digest} to {repository}")
            return
        raise AssertionError(f"{layer.digest} cannot be pushed to {repository}")

    def _is_there(self, repository: str, layer: Layer) -> bool:
        answer = self.client.ask("HEAD", f"/v2/{repository}/blobs/{layer.digest}")
        self.told.count("heads")
        return answer.status == http.client.OK

    def _bring(self, repository: str, layer: Layer) -> None:
        sources = [name for name in self.sources(layer) if name != repository]
        self._heard = time.monotonic()
        if sources and self.chance.random() < 0.7:
            source = self.chance.choice(sources)
            path = f"/v2/{repository}/blobs/uploads/?mount={layer.digest}&from={source}"
            answer = self.client.once("POST", path, also=f"repository:{source}:pull")
            if answer.status == http.client.CREATED:
                self.told.count("mounts")
                return
            self._send(layer, answer)
        elif self.chance.random() < 0.3:
            path = f"/v2/{repository}/blobs/uploads/?digest={layer.digest}"
            self._ended(self.client.once("POST", path, layer.data), layer)
        else:
            self._send(layer, self.begin(repository))

    def begin(self, repository: str) -> Answer:
        """Begin an upload."""
        self._heard = time.monotonic()
        return self.client.once("POST", f"/v2/{repository}/blobs/uploads/")

    def _send(self, layer: Layer, begun: Answer) -> None:
        data, place = layer.data, begun.expect(202).location
        cut = len(data) // 2 if self.chance.random() < 0.4 else 0
        if cut:
            place = self.append(place, data[:cut])
            if self.chance.random() < 0.1:
                time.sleep(self.chance.random() * self.lease / 2)
        self._ended(self.finish(place, layer.digest, data[cut:]), layer)

    def append(self, place: str, data: bytes) -> str:
        """Send some bytes of an upload, and return where it goes on."""
        sent = time.monotonic()
        answer = self.client.once("PATCH", place, data)
        self._check(answer, 202)
        self._heard = sent
        self.told.count("bytes pushed", len(data))
        return answer.location

    def finish(self, place: str, digest: str, data: bytes) -> Answer:
        """Send the last bytes, and the digest."""
        mark = "&" if "?" in place else "?"
        return self.client.once("PUT", f"{place}{mark}digest={digest}", data)

    def _ended(self, answer: Answer, layer: Layer) -> None:
        self._check(answer, 201)
        self.told.count("blobs pushed")
        self.told.count("bytes pushed", len(layer.data))

    def _check(self, answer: Answer, status: int) -> None:
        """Raise Session when it has not this status: then only its time may be over."""
        if answer.status != status:
            waited = time.monotonic() - self._heard
            said = f"{answer.status} after {waited:.1f} s: {answer.body[:300]!r}"
            if answer.status != http.client.NOT_FOUND or waited < self.lease * PROMISED_SHARE:
                self.told.fault("lost uploads", said)
            self.told.count("late uploads")
            raise Session

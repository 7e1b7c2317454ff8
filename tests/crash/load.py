"""Clients that push without pause, and remember what was acknowledged to them."""

import hashlib
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from tests.crash.operations import KIB, manifest_of
from tests.functional.programs import wait_until
from tests.functional.server import Account
from tests.functional.wire import Reachable, Wire
from tests.images import MANIFEST, sha256_of

SIZES: Final = (300, 90 * KIB, 700 * KIB)
"""A layer in the database, one of one chunk, one of two."""


@dataclass(frozen=True)
class Push:
    """An image that was acknowledged: one layer, one config, a manifest under two tags."""

    repository: str
    number: int
    layer: str
    config: str
    manifest: bytes


class Load:
    """So many clients, each with a repository of its own."""

    def __init__(self, server: Reachable, account: Account, clients: int) -> None:
        self._server = server
        self._account = account
        self._acknowledged: list[Push] = []
        self._stop = threading.Event()
        self._threads = ThreadPoolExecutor(clients)
        self._running: list[Future[None]] = [
            self._threads.submit(self._push_on, f"{account.name}/load{client}")
            for client in range(clients)
        ]

    def acknowledged(self) -> list[Push]:
        """Return what has been acknowledged by now."""
        return list(self._acknowledged)

    def wait_for_one_more(self) -> None:
        """Return when one more has been acknowledged; raises what ended a client."""
        known = len(self._acknowledged)

        def ended() -> list[Future[None]]:
            return [client for client in self._running if client.done()]

        wait_until("one more push", lambda: len(self._acknowledged) > known or bool(ended()))
        for client in ended():
            client.result()

    def stop(self) -> None:
        """End when each client has its last answer; raises what went wrong for any."""
        self._stop.set()
        for running in self._running:
            running.result(60)
        self._threads.shutdown()

    def _push_on(self, repository: str) -> None:
        wire = Wire(self._server, self._account)
        number = 0
        while not self._stop.is_set():
            self._acknowledged.append(push_image(wire, repository, number))
            number += 1


def push_image(wire: Wire, repository: str, number: int) -> Push:
    """Push an image like no other, and return it once all of it is acknowledged."""
    noise = hashlib.shake_256(f"{repository} {number}".encode()).digest(SIZES[number % len(SIZES)])
    config = f'{{"number": {number}, "of": "{repository}"}}'.encode()
    for data in (noise, config):
        wire.push_blob(repository, data)
    manifest = manifest_of(config, noise)
    for tag in (f"n{number}", "latest"):
        path = f"/v2/{repository}/manifests/{tag}"
        wire.request("PUT", path, manifest, {"Content-Type": MANIFEST}).expect(201)
    return Push(repository, number, sha256_of(noise), sha256_of(config), manifest)


def check_pushes(wire: Wire, pushes: list[Push]) -> None:
    """Fail unless everything acknowledged is there, and the newest tag is the last one or later."""
    newest: dict[str, Push] = {}
    for push in pushes:
        room = f"/v2/{push.repository}"
        for digest in (push.layer, push.config):
            answer = wire.request("GET", f"{room}/blobs/{digest}")
            assert answer.status == 200, f"lost: {digest} of {push.repository}: {answer}"
            assert sha256_of(answer.body) == digest, f"lost: {digest} has other bytes"
        answer = wire.request("GET", f"{room}/manifests/n{push.number}")
        assert answer.status == 200, f"lost: tag n{push.number} of {push.repository}: {answer}"
        assert answer.body == push.manifest
        newest[push.repository] = push
    for push in newest.values():
        answer = wire.request("GET", f"/v2/{push.repository}/manifests/latest").expect(200)
        layer = wire.request("GET", f"/v2/{push.repository}/manifests/n{push.number + 1}")
        assert answer.body in {push.manifest, layer.body}, "lost: a tag went back"

"""What receives webhooks, at an address of this machine that is not its loopback."""

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook

from tests.functional.cluster.record import CLOCK
from treescale.events.hooks.schedule import HELD_BACK_SECONDS_MAX


@dataclass
class Got:
    """A request that was taken."""

    webhook_id: str
    sequence: int
    repository: str
    tag: str
    delay: float
    """Seconds since it happened."""
    at: float
    """When it was taken."""


@dataclass
class Receiver:
    """What receives; `status` is its answer, after `seconds`."""

    secret: str = ""
    status: int = 200
    seconds: float = 0.0
    taken: list[Got] = field(default_factory=list)
    asked: int = 0
    unsigned: int = 0
    pings: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def hear(self, headers: dict[str, str], body: bytes) -> int:
        """Return the answer to a request."""
        with self.lock:
            self.asked += 1
            status = self.status
        time.sleep(self.seconds)
        try:
            event = Webhook(self.secret).verify(body, headers)
        except Exception:  # noqa: BLE001  the test counts them
            self.unsigned += 1
            return 401
        data = event["data"]
        with self.lock:
            if data["kind"] == "ping":
                self.pings += 1
            elif status == 200:
                self.taken.append(_got(headers["webhook-id"], event))
        return status


def _got(webhook_id: str, event: dict[str, Any]) -> Got:
    data, at = event["data"], datetime.fromisoformat(event["time"]).timestamp()
    where = data["repository"], data["tag"]
    now = CLOCK.now()
    return Got(webhook_id, data["sequence"], *where, now - at, now)


@contextmanager
def receiving(host: str) -> Iterator[tuple[Receiver, str]]:
    """Receive at an address of this machine; return what is heard, and the origin of its URL."""
    heard = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = heard.hear({k.lower(): v for k, v in self.headers.items()}, body)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer((host, 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield heard, f"http://{host}:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def check(heard: Receiver, pushed: list[tuple[str, str]]) -> None:
    """Assert what is promised: each event at least once, in order, duplicates with the same id."""
    check_order(heard)
    assert {(got.repository, got.tag) for got in heard.taken} == {*pushed}


def check_order(heard: Receiver) -> None:
    """Assert that each was at first told in the order of its repository, always as the same.

    What happened longer ago than others wait for may come after those.
    """
    ids: dict[int, set[str]] = defaultdict(set)
    told: dict[str, list[Got]] = defaultdict(list)
    for got in heard.taken:
        if not ids[got.sequence]:
            told[got.repository].append(got)
        ids[got.sequence].add(got.webhook_id)
    assert all(len(each) == 1 for each in ids.values())
    assert [late for each in told.values() for late in overtaken_early(each)] == []
    assert heard.unsigned == 0


def overtaken_early(told: list[Got]) -> list[tuple[int, int, float]]:
    """Return what was overtaken before its time, by what, and how long ago it had happened."""
    found, newest = [], 0
    for late in told:
        if late.sequence > newest:
            newest = late.sequence
            continue
        before = next(one for one in told if one.sequence > late.sequence)
        waited = before.at - (late.at - late.delay)
        if waited < HELD_BACK_SECONDS_MAX:
            found.append((late.sequence, before.sequence, waited))
    return found

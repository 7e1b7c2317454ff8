"""A follower of the event log: on whichever server answers, going on from where it was."""

import http.client
import json
import threading
import time
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from random import Random  # noqa: TID251  a seeded source
from typing import Any

from tests.functional.cluster.record import CLOCK
from tests.functional.server import Account, Server

SECONDS_MAX = 5.0
"""Without a word, though things happen: then another server is followed."""
PAUSE_SECONDS = 0.1


@dataclass
class Follower:
    """Follows until it is told to end."""

    servers: Sequence[Server]
    account: Account
    chance: Random
    events: list[dict[str, Any]] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    """From the time in each event until it was read; by one machine's clock."""
    joined: int = 0
    gaps: int = 0
    ended: threading.Event = field(default_factory=threading.Event)
    _cursor: str = "oldest"

    def run(self) -> None:
        """Follow."""
        while not self.ended.is_set():
            try:
                self._follow(self.chance.choice(self.servers))
            except (OSError, http.client.HTTPException, json.JSONDecodeError):
                time.sleep(PAUSE_SECONDS)

    def _follow(self, server: Server) -> None:
        connection = server.connect(seconds=SECONDS_MAX)
        try:
            name = b64encode(f"{self.account.name}:{self.account.password}".encode()).decode()
            headers = {"Authorization": f"Basic {name}", "Accept": "text/event-stream"}
            headers["Last-Event-ID"] = self._cursor
            connection.request("GET", "/api/v1/events", headers=headers)
            answer = connection.getresponse()
            if answer.status != http.client.OK:
                answer.read()
                raise OSError(f"{answer.status}")
            self.joined += 1
            self._read(answer)
        finally:
            connection.close()

    def _read(self, answer: http.client.HTTPResponse) -> None:
        """Take each event when it is whole: what is cut off comes again."""
        event: dict[str, str] = {}
        while not self.ended.is_set():
            line = answer.readline().decode()
            if not line:
                return
            word, _, rest = line.rstrip("\n").partition(": ")
            if word:
                event[word] = rest
                continue
            self._cursor = event.get("id", self._cursor)
            if event.get("event") == "gap":
                self.gaps += 1
            elif "data" in event:
                self._take(json.loads(event["data"]))
            event = {}

    def _take(self, event: dict[str, Any]) -> None:
        at = datetime.fromisoformat(event["at"]).timestamp()
        self.delays.append(CLOCK.now() - at)
        self.events.append(event)

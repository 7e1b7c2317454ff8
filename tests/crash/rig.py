"""A real server in trouble, what was acknowledged to a client of it, and how a refusal looks."""

import http.client
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.crash.inside import check_database, check_files, drafts
from tests.crash.load import Push, check_pushes, push_image
from tests.crash.nursery import Home
from tests.crash.places import MIB
from tests.functional.programs import wait_until, workers_of
from tests.functional.server import Server
from tests.functional.wire import Answer, Wire

REPOSITORY: Final = "admin/app"
RESERVE: Final = 256 * MIB
"""What a store keeps free; the disks here have twice that."""
ADVICE: Final = re.compile(r"(.+)\. Try again later; if it lasts, tell the operator: request (\S+)")
"""What a client is told: in words, what to do, and the request that the log speaks of."""
MACHINE: Final = re.compile(r"[/0-9]|SQLite|mount")
"""What no client is told: a path, a number of bytes, how the machine is made."""


@dataclass
class Rig:
    """A server with the data on one file system and the database on another."""

    server: Server
    wire: Wire
    home: Home
    pids: list[int]
    pushes: list[Push] = field(default_factory=list)

    def push(self) -> None:
        """Push an image that must be accepted."""
        self.pushes.append(push_image(self.wire, REPOSITORY, len(self.pushes)))

    def check_pulls(self) -> None:
        """Pull everything that was acknowledged, and compare."""
        check_pushes(self.wire, self.pushes)

    def check_refusal(self, answer: Answer, status: int, says: str) -> None:
        """Fail unless it is a refusal as it should be; see `check_refusal`."""
        check_refusal(answer, status, says, self.server.log)

    def check_end(self) -> None:
        """Push with the same processes; then restart, and find everything whole."""
        for _ in range(3):
            self.push()
        self.check_pulls()
        assert workers_of(self.server.program.pid) == self.pids, "no restart was needed"
        assert drafts(self.home) == []
        assert self.server.stop() == 0
        check_files(self.home)
        check_database(self.home)


def check_refusal(answer: Answer, status: int, says: str, log: Path) -> None:
    """Fail unless it is an OCI error of this status that says what the client can do, and when.

    What is wrong with which disk is the operator's: the log `says` it of the very same request.
    """
    answer.expect(status)
    assert answer.headers["Content-Type"] == "application/json"
    errors: list[dict[str, Any]] = answer.json()["errors"]
    assert [error["code"] for error in errors] == ["UNKNOWN"]
    message: str = errors[0]["message"]
    told = ADVICE.fullmatch(message)
    assert told, errors
    assert ("no room left" in told[1]) == (status == http.client.INSUFFICIENT_STORAGE), errors
    assert not MACHINE.search(told[1]), f"clients are told of the machine: {message}"
    assert int(answer.headers["Retry-After"]) > 0
    request_id = told[2]

    def lines() -> list[str]:
        return [
            line
            for line in log.read_text(errors="replace").splitlines()
            if "request.unavailable" in line and request_id in line
        ]

    wait_until("the operator is told", lambda: bool(lines()))
    assert all(says in line for line in lines()), lines()


def patch(rig: Rig, data: bytes) -> Answer:
    """Send a body, announced, to a new upload."""
    return rig.wire.request("PATCH", rig.wire.begin_upload(REPOSITORY), data)

"""A real server in trouble, what was acknowledged to a client of it, and how a refusal looks."""

from dataclasses import dataclass, field
from typing import Any, Final

from tests.crash.inside import check_database, check_files, drafts
from tests.crash.load import Push, check_pushes, push_image
from tests.crash.nursery import Home
from tests.crash.places import MIB
from tests.functional.programs import children_of
from tests.functional.server import Server
from tests.functional.wire import Answer, Wire

REPOSITORY: Final = "admin/app"
RESERVE: Final = 256 * MIB
"""What a store keeps free; the disks here have twice that."""


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

    def check_end(self) -> None:
        """Push with the same processes; then restart, and find everything whole."""
        for _ in range(3):
            self.push()
        self.check_pulls()
        assert children_of(self.server.program.pid) == self.pids, "no restart was needed"
        assert drafts(self.home) == []
        assert self.server.stop() == 0
        check_files(self.home)
        check_database(self.home)


def check_refusal(answer: Answer, status: int, says: str) -> None:
    """Fail unless it is an OCI error of this status that says what to do, and when."""
    answer.expect(status)
    assert answer.headers["Content-Type"] == "application/json"
    errors: list[dict[str, Any]] = answer.json()["errors"]
    assert [error["code"] for error in errors] == ["UNKNOWN"]
    assert says in errors[0]["message"], errors
    assert int(answer.headers["Retry-After"]) > 0


def patch(rig: Rig, data: bytes) -> Answer:
    """Send a body, announced, to a new upload."""
    return rig.wire.request("PATCH", rig.wire.begin_upload(REPOSITORY), data)

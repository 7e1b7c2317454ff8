"""A server killed at every step of every operation: nothing acknowledged is lost (T08 to T10).

For each operation the same loop: a copy of the same directory, a worker that dies at step N, the
operation, a fresh server on what is left, the checks, and the operation again from its start. N
grows until the worker lives.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.crash.conftest import Counted
from tests.crash.hurt import Forgets, Hurt
from tests.crash.inside import check_database, check_files, check_rows, drafts
from tests.crash.nursery import PASSWORD, Home, Nursery
from tests.crash.operations import (
    DEATHS,
    LAYER,
    OPERATIONS,
    REPOSITORY,
    Operation,
    check_base,
    push_base,
)
from tests.crash.places import MIB, Mounts
from tests.functional.server import Account
from tests.functional.wire import Wire
from tests.images import sha256_of

pytestmark = pytest.mark.early

STEPS_MAX = 400
PUSH = OPERATIONS[0]
EXPECTED = {
    "POST, PATCH, PUT": {
        "disk.fallocate",
        "disk.write",
        "disk.fsync",
        "disk.rename",
        "disk.fsync_directory",
        "uploads.create before",
        "uploads.create after",
        "uploads.advance before",
        "uploads.advance after",
        "blobs.commit before",
        "blobs.commit after",
        "sql BEGIN",
        "sql INSERT blobs",
        "sql DELETE uploads",
        "sql COMMIT",
    },
    "manifest PUT": {"manifests.put before", "manifests.put after", "sql INSERT manifests"},
    "tag DELETE": {"manifests.delete_tag before", "manifests.delete_tag after", "sql DELETE tags"},
}
"""Steps that must be among those found: the loop sees what it is about."""


@dataclass
class Rig:
    """One directory to begin with, and the workers that run on copies of it."""

    nursery: Nursery
    wire: Wire
    base: Path
    place: Path

    def copy(self, number: int) -> Home:
        """Return a home like the first."""
        home = Home(self.place / f"at{number}")
        shutil.copytree(self.base, home.data)
        return home


@pytest.fixture
def rig(nursery: Nursery, mounts: Mounts) -> Rig:
    """Return a rig whose base has an image."""
    place = mounts.memory("crash", 1024 * MIB)  # the death of a process does not ask the disk
    wire = Wire(nursery, Account("admin", PASSWORD))
    nursery.start(Home(place / "base"))
    push_base(wire)
    nursery.end()
    return Rig(nursery, wire, place / "base", place)


def acknowledged(operation: Operation, wire: Wire) -> bool:
    """Return whether the server lived to acknowledge it."""
    try:
        operation.act(wire)
    except DEATHS:
        return False
    return True


def check_after(rig: Rig, home: Home, operation: Operation, *, was: bool) -> None:
    """Start a fresh server on what is left, and look at everything."""
    rig.nursery.start(home)
    assert drafts(home) == []
    check_files(home)
    check_base(rig.wire)
    operation.check(rig.wire, was)
    operation.act(rig.wire)
    operation.check(rig.wire, True)  # noqa: FBT003
    check_base(rig.wire)
    rig.nursery.end()
    check_files(home)
    check_database(home)
    check_rows(home, operation.digests)
    shutil.rmtree(home.data)


def die_everywhere(rig: Rig, operation: Operation, forgets: tuple[Forgets, ...] = ()) -> list[str]:
    """Run the operation with a worker that dies at each step in turn; return the steps."""
    died_at = set[str]()
    for number in range(STEPS_MAX):
        home = rig.copy(number)
        rig.nursery.start(home, Hurt(at=number, forgets=forgets))
        was = acknowledged(operation, rig.wire)
        steps = rig.nursery.steps()
        lived = len(steps) <= number
        rig.nursery.end()
        assert lived <= was, "a server that lives answers"
        check_after(rig, home, operation, was=was)
        if lived:
            assert set(steps) <= died_at, "each label once"
            return steps
        died_at.add(steps[-1])
    raise AssertionError(f"{operation.name} has more than {STEPS_MAX} steps")


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_a_server_killed_at_every_step(rig: Rig, operation: Operation, counted: Counted) -> None:
    steps = die_everywhere(rig, operation)
    assert EXPECTED.get(operation.name, set()) <= set(steps)
    counted(f"{operation.name}: killed at each of {len(steps)} steps, {len(set(steps))} kinds")


def test_a_chunk_written_under_its_final_name_would_be_found(rig: Rig) -> None:
    """The negative control: the loop above sees a half-written chunk."""
    with pytest.raises(AssertionError, match=r"half-written"):
        die_everywhere(rig, PUSH, forgets=("tmp",))


@pytest.mark.parametrize("step", ["blobs.commit before", "blobs.commit after"])
def test_the_last_put_again_after_its_answer_was_lost(rig: Rig, step: str) -> None:
    """T08 and T09: the session, or the blob, is there to answer the client's second try."""
    home, digest = rig.copy(0), sha256_of(LAYER)
    rig.nursery.start(home, Hurt(at=0, only=(step,)))
    place = rig.wire.begin_upload(REPOSITORY)
    place = rig.wire.request("PATCH", place, LAYER).expect(202).location
    with pytest.raises(DEATHS):
        rig.wire.finish_upload(place, digest)
    rig.nursery.wait()
    rig.nursery.start(home)
    there = rig.wire.request("GET", f"/v2/{REPOSITORY}/blobs/{digest}").status == 200
    assert there == (step == "blobs.commit after")
    rig.wire.finish_upload(place, digest).expect(201)
    assert rig.wire.pull_blob(REPOSITORY, digest) == LAYER
    rig.nursery.end()
    check_rows(home, [digest])

"""Each call of the disk in a push fails in turn, and the client is told in the protocol's words.

`tests/chunks/disk/test_disk_faults.py` has the same loop for the store alone. Here it goes through
the worker: which status, what a reader finds meanwhile, and whether the same worker takes the same
push a moment later (T28, T30 to T32).
"""

import shutil
from pathlib import Path

import pytest

from tests.crash.conftest import Counted
from tests.crash.hurt import How, Hurt
from tests.crash.inside import check_files, drafts
from tests.crash.nursery import PASSWORD, Home, Nursery
from tests.crash.operations import LAYER, REPOSITORY, check_base, push_base
from tests.crash.places import MIB, Mounts
from tests.crash.rig import check_refusal
from tests.functional.server import Account
from tests.functional.wire import Answer, Wire
from tests.images import sha256_of

pytestmark = pytest.mark.early

CALLS_MAX = 200
ALL = ("disk.",)
WRITING = ("disk.open", "disk.mkdir", "disk.fallocate", "disk.write", "disk.fsync", "disk.rename")
"""What a full or read-only disk can refuse; `disk.fsync` stands for directories too."""
DIGEST = sha256_of(LAYER)


@pytest.fixture
def base(nursery: Nursery, mounts: Mounts) -> Path:
    """Return a directory with an image."""
    base = mounts.memory("failing", 1024 * MIB) / "base"
    nursery.start(Home(base))
    push_base(Wire(nursery, Account("admin", PASSWORD)))
    nursery.end()
    return base


def push(wire: Wire) -> Answer:
    """Push a layer in one request."""
    return wire.request("POST", f"/v2/{REPOSITORY}/blobs/uploads/?digest={DIGEST}", LAYER)


@pytest.mark.parametrize(
    ("how", "only", "status", "lasts"),
    [("ENOSPC", WRITING, 507, False), ("EROFS", WRITING, 503, False), ("EIO", ALL, 503, True)],
    ids=["full", "read-only", "input-output-error"],
)
def test_a_push_whose_nth_call_of_the_disk_fails(
    nursery: Nursery,
    base: Path,
    counted: Counted,
    how: How,
    only: tuple[str, ...],
    status: int,
    *,
    lasts: bool,
) -> None:
    wire = Wire(nursery, Account("admin", PASSWORD))
    refused, calls = 0, list[str]()
    for number in range(CALLS_MAX):
        home = Home(base.parent / f"at{number}")
        shutil.copytree(base, home.data)
        nursery.start(home, Hurt(at=number, how=how, only=only))
        answer = push(wire)
        calls = nursery.steps()
        if len(calls) <= number:  # the push is over before that many calls
            answer.expect(201)
            nursery.end()
            break
        if answer.status != 201:
            refused += 1
            check_refusal(answer, status, str(home.data), nursery.log)
            wire.request("GET", f"/v2/{REPOSITORY}/blobs/{DIGEST}").expect(404)
        check_base(wire)
        again = push(wire)
        assert again.status == 201 or (lasts and again.status == 503), again
        nursery.end()
        nursery.start(home)  # which removes what could not be removed then
        assert drafts(home) == []
        check_files(home)
        push(wire).expect(201)
        assert wire.pull_blob(REPOSITORY, DIGEST) == LAYER
        check_base(wire)
        nursery.end()
        shutil.rmtree(home.data)
    assert {"disk.open", "disk.fallocate", "disk.write", "disk.fsync", "disk.rename"} <= set(calls)
    assert refused >= len(set(calls)) - 3, "some may fail without harm: mkdir, unlink, close"
    counted(f"{how} at each of {len(calls)} calls of the disk in a push: {refused} refused")

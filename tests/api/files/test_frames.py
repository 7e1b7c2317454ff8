"""How much a reader of the code has to cross to follow a chunk: few functions, in few files."""

import os
from random import Random  # noqa: TID251  a seeded source

import pytest

from tests.api.client import Repository
from tests.api.files.serving import Served
from tests.frames import Frame, crossed

FRAMES_MAX = 15
FILES_MAX = 10
LAYER = Random(1).randbytes(9 * 1024 * 1024)  # noqa: S311  nothing here is a secret

pytestmark = pytest.mark.parametrize("served", ["plain"], indirect=True)


def judge(way: list[Frame], *ends: str) -> None:
    """Pass when the way is short, and leads past all these files."""
    listed = "\n".join(f"{file}: {name}" for file, name in way)
    files = dict.fromkeys(file for file, _ in way)
    assert set(ends) <= set(files), f"it did not lead there:\n{listed}"
    assert len(way) <= FRAMES_MAX, f"{len(way)} functions are too many:\n{listed}"
    assert len(files) <= FILES_MAX, f"{len(files)} files are too many:\n{listed}"


async def test_a_pushed_chunk_crosses_15_functions_in_10_files(
    served: Served, repository: Repository
) -> None:
    del served
    session = await repository.start_upload()
    with crossed("write") as found:
        (await repository.request("PATCH", session, data=LAYER)).expect(202)
    judge(
        found.way("read_ready", "write"),
        "http/connections/connection.py",
        "http/body.py",
        "chunks/disk/directory.py",
    )


async def test_a_pulled_chunk_crosses_15_functions_in_10_files(
    served: Served, repository: Repository
) -> None:
    served.disk.settled = True
    digest = await repository.push_blob(LAYER)
    for copy in served.chunks():
        os.utime(copy, (1, 1))  # another file than was verified: it is hashed again
    with crossed("read", "sendfile") as found:
        assert (await repository.get(f"blobs/{digest}")).body == LAYER
    judge(
        found.way("read", "sendfile"),
        "http/connections/connection.py",
        "chunks/disk/directory.py",
        "http/connections/sending.py",
    )

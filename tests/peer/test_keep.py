"""Copies kept on another server: no bytes travel; a server that does not know how keeps nothing."""

import pytest

from tests.contracts.chunk_store import ABSENT, chunk_of
from tests.peer.conftest import Reach, Server
from treescale.errors import Unreachable
from treescale.peer import protocol
from treescale.peer.protocol import CHUNKS_KEPT_MAX, Action

CHUNK, DATA = chunk_of(1)


async def test_they_have_another_time_after_it(server: Server, reach: Reach) -> None:
    store = reach(server.port).store()
    await store.put(CHUNK, DATA)
    before = server.file_of(CHUNK).stat()
    assert await store.keep([ABSENT, CHUNK]) == [False, True]
    after = server.file_of(CHUNK).stat()
    assert before.st_ino == after.st_ino
    assert before.st_mtime_ns < after.st_mtime_ns


async def test_a_bad_copy_is_not_kept(server: Server, reach: Reach) -> None:
    store = reach(server.port).store()
    await store.put(CHUNK, DATA)
    server.file_of(CHUNK).write_bytes(DATA[::-1])
    assert await store.keep([CHUNK]) == [False]
    assert await store.have([CHUNK]) == [False]


async def test_many_are_asked_for_in_parts(server: Server, reach: Reach) -> None:
    store = reach(server.port).store()
    chunks = [chunk_of(number)[0] for number in range(2 * CHUNKS_KEPT_MAX + 3)]
    for number in (0, CHUNKS_KEPT_MAX, 2 * CHUNKS_KEPT_MAX + 2):
        await store.put(*chunk_of(number))
    found = await store.keep(chunks)
    assert [n for n, kept in enumerate(found) if kept] == [0, 64, 130]
    assert await store.keep([]) == []


async def test_a_store_that_cannot_keep_is_as_one_that_does_not_answer(
    server: Server, reach: Reach
) -> None:
    with pytest.raises(Unreachable):
        await reach(server.port).store("memory").keep([CHUNK])


async def test_so_is_a_server_of_a_version_that_knows_no_such_question(
    server: Server, reach: Reach, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = [(action, path) for action, path in protocol._PATHS if action is not Action.KEEP]
    monkeypatch.setattr(protocol, "_PATHS", older)
    near = reach(server.port)
    store = near.store()
    await store.put(CHUNK, DATA)
    with pytest.raises(Unreachable, match="different versions"):
        await store.keep([CHUNK])
    assert near.health.is_up, "it answers everything else"
    assert await store.get(CHUNK) == DATA

"""Reads are noted while somebody looks, by all processes, and by none when nobody does."""

import os

import pytest

from tests.fakes_disk import JumpingClock
from treescale.metrics.chunk_reads import ENTRIES, WATCHED_SECONDS, ChunkReads, begin_of

STORES = ("0" * 31 + "1", "f" * 32)


@pytest.fixture
def clock() -> JumpingClock:
    return JumpingClock()


def note(reads: ChunkReads, number: int, store: str = STORES[0]) -> None:
    """Note as who reads does: the deadline is looked at first."""
    if reads.until[0]:
        reads.note(number.to_bytes(8) + bytes(24), store)


def test_nothing_is_noted_while_nobody_looks(clock: JumpingClock) -> None:
    reads = ChunkReads(clock)
    note(reads, 1)
    assert reads.since(60) == []
    reads.watch()
    clock.seconds += WATCHED_SECONDS + 1
    note(reads, 2)
    assert reads.since(60) == []
    assert reads.until[0] == 0.0  # from now on a read pays for one look at it


def test_what_is_read_while_somebody_looks_is_told(clock: JumpingClock) -> None:
    reads = ChunkReads(clock)
    reads.watch()
    note(reads, 1)
    clock.seconds += 2.0
    note(reads, 2**64 - 1, STORES[1])
    found = reads.since(1.0)
    assert [(one.chunk, one.store_id) for one in found] == [(b"\xff" * 8, STORES[1])]
    assert [one.store_id for one in reads.since(3.0)] == [STORES[1], STORES[0]]
    assert begin_of(bytes(32)) == bytes(8)


def test_a_ring_keeps_the_newest(clock: JumpingClock) -> None:
    reads = ChunkReads(clock)
    reads.watch()
    for number in range(ENTRIES + 10):
        note(reads, number)
    found = [int.from_bytes(one.chunk) for one in reads.since(1.0)]
    assert found == [*reversed(range(10, ENTRIES + 10))]


def test_a_store_that_is_none_of_ours_is_nobodys(clock: JumpingClock) -> None:
    reads = ChunkReads(clock)
    reads.watch()
    note(reads, 1, "a store")
    assert [one.store_id for one in reads.since(1.0)] == ["0" * 32]


def test_other_processes_notes_are_seen(clock: JumpingClock) -> None:
    reads = ChunkReads(clock, processes=2)
    reads.watch()
    pid = os.fork()
    if pid == 0:
        note(reads, 7, STORES[1])
        os._exit(0)
    os.waitpid(pid, 0)
    note(reads, 8)
    assert {int.from_bytes(one.chunk) for one in reads.since(1.0)} == {7, 8}

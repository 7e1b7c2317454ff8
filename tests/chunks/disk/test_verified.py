"""What processes remember of the files they checked; that it matters is in test_store.py."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treescale.chunks.disk.verified import SETTLED_NS_MIN, WAYS, VerifiedFiles

CHUNKS = [bytes([number + 1]) * 28 + bytes(4) for number in range(WAYS + 1)]
DAY = 24 * 3600 * 10**9


@pytest.fixture
def found(tmp_path: Path) -> os.stat_result:
    path = tmp_path / "chunk"
    path.write_bytes(b"bytes")
    return path.stat()


def test_it_remembers_a_bounded_number_and_forgets_what_was_checked_longest_ago(
    found: os.stat_result,
) -> None:
    trust = VerifiedFiles(entries=WAYS)
    *first, last = CHUNKS
    for chunk in first:
        trust.add(chunk, found, now=1.0, stamp_ns=found.st_mtime_ns + DAY, durable=True)
    trust.add(first[0], found, now=2.0, stamp_ns=found.st_mtime_ns + DAY, durable=True)
    trust.add(last, found, now=3.0, stamp_ns=found.st_mtime_ns + DAY, durable=True)
    assert [chunk for chunk in CHUNKS if not trust.knows(chunk)] == [first[1]]
    assert trust.is_verified(first[0], found, now=3.0)
    assert trust.is_durable(last, found, now=3.0)


def test_a_file_that_changed_a_moment_ago_is_not_settled(found: os.stat_result) -> None:
    trust = VerifiedFiles()
    for late, settled in ((SETTLED_NS_MIN - 1, False), (SETTLED_NS_MIN, True)):
        trust.add(CHUNKS[0], found, now=1.0, stamp_ns=found.st_mtime_ns + late, durable=False)
        assert trust.is_verified(CHUNKS[0], found, now=1.0) == settled


def test_what_was_durable_stays_so_while_the_file_is_the_same(
    found: os.stat_result, tmp_path: Path
) -> None:
    trust = VerifiedFiles()
    later = found.st_mtime_ns + DAY
    trust.add(CHUNKS[0], found, now=1.0, stamp_ns=later, durable=True)
    trust.add(CHUNKS[0], found, now=2.0, stamp_ns=later, durable=False)
    assert trust.is_durable(CHUNKS[0], found, now=2.0)
    other = tmp_path / "other"
    other.write_bytes(b"bytes")
    trust.add(CHUNKS[0], other.stat(), now=3.0, stamp_ns=later, durable=False)
    assert not trust.is_durable(CHUNKS[0], other.stat(), now=3.0)


def test_what_is_said_to_be_bad_is_forgotten(found: os.stat_result) -> None:
    trust = VerifiedFiles()
    for chunk in CHUNKS[:2]:
        trust.add(chunk, found, now=1.0, stamp_ns=found.st_mtime_ns + DAY, durable=True)
    trust.forget(CHUNKS[0])
    trust.forget(CHUNKS[2])
    assert [trust.is_verified(chunk, found, now=1.0) for chunk in CHUNKS[:2]] == [False, True]


def test_forked_processes_share_it(found: os.stat_result) -> None:
    trust = VerifiedFiles()
    pid = os.fork()
    if pid == 0:
        trust.add(CHUNKS[0], found, now=1.0, stamp_ns=found.st_mtime_ns + DAY, durable=True)
        os._exit(0)
    os.waitpid(pid, 0)
    assert trust.is_verified(CHUNKS[0], found, now=1.0)


@given(place=st.integers(0, 87), bit=st.integers(0, 7))
def test_a_torn_entry_is_as_good_as_none(place: int, bit: int) -> None:
    found = os.stat(__file__)  # noqa: PTH116  a stat result is what is wanted
    trust = VerifiedFiles(entries=WAYS)
    trust.add(CHUNKS[0], found, now=1.0, stamp_ns=found.st_mtime_ns + DAY, durable=True)
    trust._table[place] ^= 1 << bit
    assert not trust.is_verified(CHUNKS[0], found, now=1.0)
    assert not trust.is_durable(CHUNKS[0], found, now=1.0)

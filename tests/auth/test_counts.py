"""Counts that all workers share: found again, bounded, and no worker's end or stop holds others."""

import fcntl
import multiprocessing
import os
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treescale.auth.counts import WAYS, Counts
from treescale.auth.guessing import ACCOUNT, FORGOTTEN_SECONDS, NOTHING, PAIR, Count

FORK = multiprocessing.get_context("fork")
NOW = 5000.0
SECRET = bytes(16)


def fail(counts: Counts, key: bytes, times: int = 1, *, now: float = NOW) -> None:
    for _ in range(times):
        counts.change(key, lambda count: ACCOUNT.failed(ACCOUNT.begun(count, now), now), now=now)


@given(st.dictionaries(st.binary(max_size=40), st.integers(1, 20), max_size=20))
def test_what_was_counted_is_found(failures: dict[bytes, int]) -> None:
    counts = Counts(4096, secret=SECRET)
    for key, times in failures.items():
        fail(counts, key, times)
    for key, times in failures.items():
        assert counts.read(key) == Count(float(times), NOW, NOW)
    assert counts.read(b"another key, longer than any of those") == NOTHING


def test_what_came_to_nothing_takes_no_place() -> None:
    counts = Counts(WAYS, secret=SECRET)
    for number in range(100):
        key = bytes([number])
        counts.change(key, lambda count: PAIR.begun(count, NOW), now=NOW)
        counts.change(key, lambda count: PAIR.taken_back(count, NOW), now=NOW)
    assert bytes(counts._table) == bytes(len(counts._table))


def test_a_flood_of_keys_pushes_out_no_higher_count() -> None:
    counts = Counts(WAYS, secret=SECRET)  # one bucket: everybody's worst place
    fail(counts, b"the account that is guessed at", 30)
    for number in range(1000):
        fail(counts, f"made up {number}".encode())
    assert counts.read(b"the account that is guessed at").level == 30
    assert len(counts._table) == WAYS * 40, "and takes no more memory"


def test_the_forgotten_make_room_first() -> None:
    counts = Counts(WAYS, secret=SECRET)
    fail(counts, b"long ago", 50, now=NOW - FORGOTTEN_SECONDS)
    for number in range(WAYS):
        fail(counts, bytes([number]))
    assert counts.read(b"long ago") == NOTHING
    assert all(counts.read(bytes([number])).level == 1 for number in range(WAYS))


def test_keys_cannot_be_aimed() -> None:
    places = {Counts(4096)._place(b"alice") for _ in range(8)}
    assert len(places) > 1, "each start hashes in its own way"


def test_workers_count_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treescale.auth.counts.LOCK_ATTEMPTS_MAX", 10**6)  # this machine is busy
    counts = Counts(64)
    workers = [FORK.Process(target=fail, args=(counts, b"alice", 25)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert counts.read(b"alice").level == 100


def test_a_worker_killed_or_stopped_with_the_lock_stops_nobody() -> None:
    counts = Counts(64)
    said, say = FORK.Pipe(duplex=False)

    def hold() -> None:
        fcntl.lockf(counts._lock, fcntl.LOCK_EX, 1)
        say.send(b"held")
        signal.pause()

    worker = FORK.Process(target=hold)
    worker.start()
    said.recv()
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGSTOP)
    fail(counts, b"alice", 3)  # returns, without the lock
    assert counts.read(b"alice").level == 3
    worker.kill()
    worker.join()
    assert counts._try_lock()

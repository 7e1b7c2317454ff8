"""Executors whose threads cannot be had."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import pytest

from treescale.chunks.disk.threads import DiskThreads
from treescale.errors import StoreUnusable
from treescale.threads import Threads


@contextmanager
def none_more() -> Iterator[None]:
    """Have no thread start, as the kernel does at a limit."""
    with patch.object(
        threading.Thread, "start", side_effect=RuntimeError("can't start new thread")
    ):
        yield


def test_it_goes_on_with_those_it_has() -> None:
    with Threads(4) as threads:
        threads.begin()
        with none_more():
            found = [threads.submit(pow, 2, number) for number in range(20)]
            assert [each.result(10) for each in found] == [2**number for number in range(20)]


def test_without_any_it_says_so() -> None:
    with Threads(4) as threads, none_more(), pytest.raises(RuntimeError):
        threads.begin()


def test_what_it_refused_is_not_done_later() -> None:
    done: list[str] = []
    with Threads(1) as threads:
        with none_more(), pytest.raises(RuntimeError):
            threads.submit(done.append, "refused")
        threads.submit(done.append, "later").result(10)
    assert done == ["later"]


def test_a_disk_goes_on_with_those_it_has() -> None:
    threads = DiskThreads(4)
    assert threads.submit(pow, 2, 3).result(10) == 8
    with none_more():
        found = [threads.submit(pow, 2, number) for number in range(20)]
        assert [each.result(10) for each in found] == [2**number for number in range(20)]


def test_a_disk_without_any_cannot_be_used() -> None:
    threads = DiskThreads(4)
    with none_more(), pytest.raises(StoreUnusable):
        threads.submit(pow, 2, 3)
    assert threads.submit(pow, 2, 3).result(10) == 8

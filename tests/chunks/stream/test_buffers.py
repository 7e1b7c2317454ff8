"""Memory that is lent: never seen by two, and used again as soon as nobody sees it."""

import threading

from hypothesis import given
from hypothesis import strategies as st

from treescale.chunks.stream.buffers import BufferPool

SIZE = 8192


def test_a_buffer_comes_back_with_its_last_view() -> None:
    pool = BufferPool()
    lent = pool.lend(SIZE)
    part = lent[5:9].toreadonly()
    del lent
    assert pool.free == 0
    del part
    assert pool.free == 1


def test_a_buffer_that_is_released_is_still_seen_through_its_parts() -> None:
    pool = BufferPool()
    lent = pool.lend(SIZE)
    part = lent[5:9]
    part[:] = b"mine"
    lent.release()
    other = pool.lend(SIZE)
    other[:] = bytes(SIZE)
    assert bytes(part) == b"mine"


def test_memory_is_lent_again() -> None:
    pool = BufferPool()
    lent = pool.lend(SIZE)
    lent[:4] = b"used"
    del lent
    assert bytes(pool.lend(SIZE)[:4]) == b"used"


def test_what_is_seldom_used_is_not_kept() -> None:
    pool = BufferPool()
    lent = pool.lend(4 * SIZE, seldom=SIZE)
    lent[:] = b"\x01" * len(lent)
    del lent
    assert bytes(pool.lend(4 * SIZE)) == bytes(SIZE) + b"\x01" * (3 * SIZE)


def test_no_more_is_kept_than_was_said() -> None:
    pool = BufferPool(3)
    lent = [pool.lend(SIZE) for _ in range(9)]
    lent.clear()
    assert pool.free == 3


def test_buffers_of_another_length_are_let_go() -> None:
    pool = BufferPool()
    lent = [pool.lend(SIZE) for _ in range(3)]
    lent.clear()
    assert len(pool.lend(2 * SIZE)) == 2 * SIZE
    assert pool.free == 1


def test_it_comes_back_from_whichever_thread() -> None:
    pool = BufferPool()
    held = [pool.lend(SIZE)]
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    assert pool.free == 1


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9))))
def test_nobody_sees_what_another_writes(steps: list[tuple[bool, int]]) -> None:
    pool = BufferPool(4)
    lent: list[tuple[int, memoryview]] = []
    for number, (lends, which) in enumerate(steps):
        if lends or not lent:
            view = pool.lend(SIZE)
            view[:8] = number.to_bytes(8)
            lent.append((number, view[:8].toreadonly()))
            del view
        else:
            del lent[which % len(lent)]
        assert all(int.from_bytes(view) == written for written, view in lent)
        assert pool.free <= 4

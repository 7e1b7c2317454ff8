"""Where a walk stands: what is due, what is packed, what comes back."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tables import each_row
from treescale.chunks.format.placement import PARTITIONS
from treescale.maintenance.planning import progress as module
from treescale.maintenance.planning.progress import (
    CYCLE_SECONDS,
    FOLLOWED_SECONDS,
    LOOK_SECONDS,
    RETRY_SECONDS_MAX,
    RETRY_SECONDS_MIN,
    Progress,
)

NOW = 1000.0
PAUSES = (5, 10, 20, 40, 80, 160, 320, 600)
WALL = 1_700_000_000.0
NUMBERS = st.integers(0, 2**32 - 1)
LOOKS = st.dictionaries(st.integers(0, PARTITIONS - 1), st.tuples(NUMBERS, NUMBERS), max_size=20)


@pytest.fixture
def progress() -> Progress:
    """All looked at under layout 3, and nothing left."""
    progress = Progress()
    assert progress.follow(3, NOW - FOLLOWED_SECONDS)
    for number in range(PARTITIONS):
        progress.look(number, NOW, missing=0, misplaced=0)
    return progress


def test_at_first_all_is_due_and_nothing_is_known() -> None:
    progress = Progress()
    assert progress.follow(1, NOW)
    assert not progress.follow(1, NOW)
    assert progress.due(NOW) == list(range(PARTITIONS))
    assert progress.pending == PARTITIONS
    assert not progress.is_whole


def test_what_is_whole_is_looked_at_every_hour(progress: Progress) -> None:
    assert progress.is_whole
    assert progress.due(NOW + LOOK_SECONDS - 1) == []
    assert len(progress.due(NOW + LOOK_SECONDS)) == PARTITIONS


def test_all_is_looked_at_once_more_when_every_worker_goes_by_a_new_layout() -> None:
    progress = Progress()
    progress.follow(1, NOW)
    for number in range(PARTITIONS):
        progress.look(number, NOW + 1, missing=0, misplaced=0)
    assert progress.due(NOW + FOLLOWED_SECONDS - 1) == []
    assert len(progress.due(NOW + FOLLOWED_SECONDS)) == PARTITIONS
    for number in range(PARTITIONS):
        progress.look(number, NOW + FOLLOWED_SECONDS, missing=0, misplaced=0)
    assert progress.due(NOW + 2 * FOLLOWED_SECONDS) == []
    assert progress.looked_since == NOW + FOLLOWED_SECONDS


def test_another_layout_makes_all_due(progress: Progress) -> None:
    progress.look(5, NOW, missing=1, misplaced=0)
    assert progress.follow(4, NOW)
    assert len(progress.due(NOW)) == progress.pending == PARTITIONS
    assert not progress.is_whole
    assert progress.attempts(5) == 0


@pytest.mark.parametrize(("missing", "misplaced"), [(3, 0), (0, 2)])
def test_what_is_left_is_tried_again_ever_later(
    progress: Progress, missing: int, misplaced: int
) -> None:
    now, pauses = NOW, []
    for attempt in range(1, 12):
        progress.look(7, now, missing=missing, misplaced=misplaced)
        assert (progress.missing, progress.misplaced) == (missing, misplaced)
        assert not progress.is_whole
        assert progress.attempts(7) == min(attempt, 8) or attempt > 7
        pause = next(s for s in PAUSES if 7 in progress.due(now + s))
        assert 7 not in progress.due(now + pause - 1)
        pauses.append(pause)
        now += pause
    assert pauses[:4] == [5, 10, 20, 40]
    assert pauses[-1] == RETRY_SECONDS_MAX
    progress.look(7, now, missing=0, misplaced=0)
    assert progress.is_whole
    assert progress.attempts(7) == 0
    assert 7 not in progress.due(now + LOOK_SECONDS - 1)


def test_what_could_not_be_looked_at_waits_although_its_hour_is_over(progress: Progress) -> None:
    """Else it would be looked at again and again without a pause."""
    now = NOW + LOOK_SECONDS
    progress.postpone(7, now)
    assert 7 not in progress.due(now + RETRY_SECONDS_MIN - 1)
    assert 7 in progress.due(now + RETRY_SECONDS_MIN)
    progress.follow(4, NOW)
    progress.postpone(8, now)
    assert 8 not in progress.due(now)


def test_hurried_it_is_due_at_once(progress: Progress) -> None:
    progress.look(7, NOW, missing=1, misplaced=0)
    progress.hurry(7)
    assert progress.due(NOW) == [7]
    assert progress.pending == 1
    progress.begin_look([7])
    progress.look(7, NOW, missing=0, misplaced=0)
    assert progress.is_whole
    progress.hurry(7)
    assert not progress.is_whole, "something is wrong with it"
    progress.hurry_all()
    assert len(progress.due(NOW)) == PARTITIONS


def test_hurried_while_it_is_looked_at_it_is_looked_at_again(progress: Progress) -> None:
    """What is bad was taken away after its names were read: that look says nothing of it."""
    progress.begin_look([7])
    progress.hurry(7)
    progress.look(7, NOW, missing=0, misplaced=0)
    assert progress.due(NOW) == [7]
    progress.begin_look([7])
    progress.look(7, NOW, missing=0, misplaced=0)
    assert progress.due(NOW) == []


def test_every_copy_is_read_back_once_in_a_cycle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PARTITIONS", 64)
    progress, wall, read = Progress(), WALL, list[int]()
    progress.begin_cycle(wall)
    assert progress.verified_since >= WALL - CYCLE_SECONDS - 60
    while len(read) < 64 + 1:
        number = progress.verify_due(wall)
        if number is None:
            wall += 600
            assert wall < WALL + 1.03 * CYCLE_SECONDS, "none is left longer than a cycle"
        else:
            progress.verify(number, wall)
            read.append(number)
    assert sorted(read[:-1]) == list(range(64))
    assert wall > WALL + 0.98 * CYCLE_SECONDS, "spread over it"
    before = progress.packed()
    progress.begin_cycle(wall + 99)
    assert progress.packed() == before


@given(LOOKS, st.integers(1, 2**32 - 1))
def test_packed_it_comes_back(looks: dict[int, tuple[int, int]], layout: int) -> None:
    progress = Progress()
    progress.follow(layout, NOW)
    progress.begin_cycle(WALL)
    for number, (missing, misplaced) in looks.items():
        progress.look(number, NOW, missing=missing, misplaced=misplaced)
    again = Progress.of(progress.packed(), layout)
    assert again.packed() == progress.packed()
    assert (again.missing, again.misplaced, again.verified_since) == (
        progress.missing,
        progress.misplaced,
        progress.verified_since,
    )
    assert len(again.due(NOW)) == PARTITIONS, "all is looked at once more"
    assert again.pending == PARTITIONS, "and nobody says before that it is whole"


def test_it_is_packed_big_endian_as_the_document_says() -> None:
    progress = Progress()
    progress.follow(0x01020304, NOW)
    progress.look(1, NOW, missing=5, misplaced=6)
    progress.verify(1, 60 * 7)
    packed = progress.packed()
    assert packed[0] == 1
    body = zlib.decompress(packed[1:])
    assert [body[4096 * 4 * n + 4 : 4096 * 4 * n + 8] for n in range(4)] == [
        bytes([1, 2, 3, 4]),
        bytes([0, 0, 0, 5]),
        bytes([0, 0, 0, 6]),
        bytes([0, 0, 0, 7]),
    ]


def test_many_are_counted_as_many_as_can_be(progress: Progress) -> None:
    progress.look(1, NOW, missing=2**40, misplaced=0)
    assert progress.missing == 2**32 - 1


@each_row(
    "packed",
    [
        b"",
        b"\x01",
        b"\x02" + zlib.compress(bytes(4 * 4 * PARTITIONS)),
        b"\x01" + zlib.compress(bytes(5)),
        b"\x01garbage",
    ],
)
def test_what_is_not_understood_is_taken_for_nothing(packed: bytes) -> None:
    fresh = Progress.of(packed, 5)
    assert fresh.layout == 5
    assert fresh.pending == PARTITIONS


@given(st.binary(max_size=200))
def test_any_bytes_are_understood_or_not(packed: bytes) -> None:
    assert Progress.of(b"\x01" + packed, 1).layout == 1

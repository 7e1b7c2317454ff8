"""The line: by urgency, then by arrival, and never longer than allowed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treescale.auth.guessing import Urgency
from treescale.auth.line import Line, LineFull

URGENCIES = st.sampled_from(list(Urgency))


@given(st.lists(URGENCIES, max_size=40), st.integers(1, 8))
def test_order_bound_and_who_makes_room(arriving: list[Urgency], length: int) -> None:
    line: Line[int] = Line(length)
    inside: list[tuple[Urgency, int]] = []
    for number, urgency in enumerate(arriving):
        try:
            leaves = line.enter(number, urgency)
        except LineFull:
            assert len(inside) == length
            assert all(other <= urgency for other, _ in inside)
            continue
        inside.append((urgency, number))
        if leaves is not None:
            gone = max(inside[:-1])
            assert gone[1] == leaves
            assert gone[0] > urgency
            inside.remove(gone)
        assert len(line) == len(inside) <= length
    for urgency, number in sorted(inside):
        assert line.first() == (number, urgency)
        line.leave(number)
    assert line.first() is None


def test_leaving_twice_is_leaving_once() -> None:
    line: Line[str] = Line(1)
    line.enter("a", Urgency.CLEAN)
    line.leave("a")
    line.leave("a")
    assert len(line) == 0
    line.enter("b", Urgency.CLEAN)
    with pytest.raises(LineFull):
        line.enter("c", Urgency.CLEAN)

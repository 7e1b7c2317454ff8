"""Pictures: each square is drawn once, where it belongs."""

import re

from hypothesis import given
from hypothesis import strategies as st

from treescale.console.web.operator.drawing import grid, marks, row

RUNS = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 200)), max_size=20)
SQUARES = re.compile(r"M(\d+) (\d+)h(\d+)v1h-(\d+)z")


def squares(path: str, side: int) -> list[int]:
    """Return the places that a path covers."""
    found = []
    for x, y, wide, back in SQUARES.findall(path):
        assert wide == back
        assert int(x) + int(wide) <= side
        found += [int(y) * side + int(x) + step for step in range(int(wide))]
    assert SQUARES.sub("", path) == ""
    return found


@given(RUNS, st.integers(1, 64))
def test_a_grid_has_every_square_once(runs: list[tuple[int, int]], side: int) -> None:
    values = [value for value, length in runs for _ in range(length)]
    drawn = {
        place: value for value, path in grid(runs, side).items() for place in squares(path, side)
    }
    assert [drawn[place] for place in range(len(values))] == values
    assert len(drawn) == len(values)


@given(RUNS)
def test_a_row_is_one_row(runs: list[tuple[int, int]]) -> None:
    assert {y for path in row(runs).values() for _, y, _, _ in SQUARES.findall(path)} <= {"0"}


def test_marks_are_single_squares() -> None:
    assert squares(marks([5, 2]), 10) == [2, 5]

"""The judge of histories is judged: by hand-made ones, and against trying every order."""

import itertools
import math

from hypothesis import given
from hypothesis import strategies as st

from tests.functional.cluster.history import Request, contradictions


def test_a_read_of_what_was_overwritten_before_it_began_is_found() -> None:
    writes = [Request("a", 0, 1), Request("b", 2, 3)]
    assert contradictions(writes, [Request("a", 1, 4), Request("b", 5, 6)]) == []
    assert contradictions(writes, [Request("a", 4, 5)]) != []


def test_reads_that_go_back_in_time_are_found() -> None:
    writes = [Request("a", 0, 1), Request("b", 2, 9)]
    assert contradictions(writes, [Request("b", 3, 4), Request("a", 5, 6)]) != []


def test_a_write_without_an_answer_may_have_happened_or_not() -> None:
    writes = [Request("a", 0, 1), Request("b", 2, math.inf)]
    assert contradictions(writes, [Request("a", 8, 9)]) == []
    assert contradictions(writes, [Request("b", 8, 9)]) == []
    assert contradictions(writes, [Request("b", 5, 6), Request("a", 8, 9)]) != []


moments = st.tuples(st.integers(0, 30), st.integers(1, 12))


@given(st.lists(moments, min_size=1, max_size=3), st.lists(st.tuples(moments, st.integers(0, 2))))
def test_it_finds_what_trying_every_order_finds(
    written: list[tuple[int, int]], read: list[tuple[tuple[int, int], int]]
) -> None:
    # Beginnings are even and ends odd, so that no two moments are the same.
    writes = [Request(str(n), 2 * b, 2 * (b + d) + 1) for n, (b, d) in enumerate(written)]
    reads = [Request(str(n % len(writes)), 2 * b, 2 * (b + d) + 1) for (b, d), n in read[:3]]
    assert (contradictions(writes, reads) == []) is _some_order_fits(writes, reads)


def _some_order_fits(writes: list[Request], reads: list[Request]) -> bool:
    everything = [(request, True) for request in writes] + [(request, False) for request in reads]
    return any(_fits(order) for order in itertools.permutations(everything))


def _fits(order: tuple[tuple[Request, bool], ...]) -> bool:
    latest, value = -math.inf, ""
    for request, is_write in order:
        latest = max(latest, request.begun)
        if latest > request.ended or not (is_write or request.value == value):
            return False
        value = request.value
    return True

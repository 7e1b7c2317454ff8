"""A join and a leave move what they must and little more: placement and planner, without servers.

`python -m bench --placement` prints the figures for 2 to 20 stores.
"""

from dataclasses import replace
from random import Random  # noqa: TID251  seeded

import pytest

from tests.simulation.moved import Holdings, join, leave, tables
from treescale.chunks.format.placement import PARTITIONS, Table

CHUNKS = 4_000
IDEAL_TIMES_MAX = 1.2
CASES = [
    (1, 1),
    (4, 2),
    *(pytest.param(*case, marks=pytest.mark.long) for case in ((4, 1), (4, 3))),
    *(pytest.param(11, copies, marks=pytest.mark.long) for copies in (1, 2, 3)),
]


@pytest.fixture(scope="module")
def holdings() -> Holdings:
    return Holdings(CHUNKS, seed=1)


@pytest.mark.parametrize(("stores", "copies"), CASES)
def test_up_to_twelve_equal_stores_move_little_more_than_they_must(
    holdings: Holdings, stores: int, copies: int
) -> None:
    few, many = tables(stores, copies, seed=1)
    assert join(holdings, few, many).ratio <= IDEAL_TIMES_MAX
    assert leave(holdings, few, many).ratio <= IDEAL_TIMES_MAX


def drawn_anew(table: Table) -> Table:
    """Return a table whose homes have nothing to do with those of any other."""
    random, names = Random(0), [label.store_id for label in table.layout.stores]  # noqa: S311  no secret
    orders = tuple(tuple(random.sample(names, len(names))) for _ in range(PARTITIONS))
    return replace(table, orders=orders)


def test_a_placement_that_draws_anew_moves_more(holdings: Holdings) -> None:
    few, many = tables(4, 2, seed=1)
    assert join(holdings, few, drawn_anew(many)).ratio > IDEAL_TIMES_MAX
    assert leave(holdings, drawn_anew(few), many).ratio > IDEAL_TIMES_MAX

"""Layouts for property tests: a few, of every shape, with tables that cost nothing to make."""

from functools import cache
from itertools import product
from random import Random  # noqa: TID251  seeded here

from hypothesis import strategies as st

from treescale.chunks.format.placement import PARTITIONS, Layout, Ranking, StoreLabel, Table

SHAPES = (
    ((1,),),
    ((2,),),
    ((1, 1),),
    ((1, 1, 1),),
    ((2, 1),),
    ((1,), (1,)),
    ((1,), (1, 1)),
    ((1, 1), (1, 1)),
    ((1,), (2, 1, 2)),
    ((1,), (1,), (1,)),
    ((1, 1), (1,), (1, 2)),
    ((2, 2), (1, 2)),
)
"""Of each zone the servers, of each server how many stores."""


def layout_of(shape: tuple[tuple[int, ...], ...], copies: int, *, number: int = 1) -> Layout:
    """Return the layout of this shape."""
    stores = tuple(
        StoreLabel(f"z{zone}s{server}d{disk}", f"z{zone}s{server}", f"z{zone}")
        for zone, servers in enumerate(shape)
        for server, disks in enumerate(servers)
        for disk in range(disks)
    )
    return Layout(number, stores, copies)


LAYOUTS = tuple(layout_of(shape, copies) for shape, copies in product(SHAPES, (1, 2, 3)))


@cache
def table_of(layout: Layout) -> Table:
    """Return a table with homes as placement chooses them, of 64 orders only, drawn by chance."""
    random = Random(repr(layout))  # noqa: S311  nothing here is a secret
    ranking, orders = Ranking(layout), []
    for _ in range(64):
        ranked = random.sample(range(len(ranking.names)), len(ranking.names))
        order = dict.fromkeys((*ranking.homes(ranked), *ranked))
        orders.append(tuple(ranking.names[store] for store in order))
    return Table(layout, tuple(orders) * (PARTITIONS // len(orders)))


def layouts() -> st.SearchStrategy[Layout]:
    """Draw one of them."""
    return st.sampled_from(LAYOUTS)


def tables() -> st.SearchStrategy[Table]:
    """Draw the table of one of them."""
    return layouts().map(table_of)

"""A write quorum is of failure domains: as far apart as the layout allows."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.chunks.layouts import layouts, table_of
from tests.tables import each_row
from treescale.chunks.format.failure_domains import FailureDomains, write_quorum
from treescale.chunks.format.placement import PARTITIONS, Layout, StoreLabel


def layout_of(*places: tuple[str, str], copies: int = 3) -> Layout:
    labels = tuple(StoreLabel(f"s{n}", server, zone) for n, (server, zone) in enumerate(places))
    return Layout(1, labels, copies)


@each_row(
    ("layout", "level", "quorum"),
    [
        (layout_of(("a", "x"), ("b", "y"), ("c", "y")), "zones", 2),
        (layout_of(("a", "x"), ("b", "x"), ("b", "x")), "servers", 2),
        (layout_of(("a", "x"), ("a", "x")), "stores", 2),
        (layout_of(("a", "x")), "zones", 1),
        (layout_of(("a", "x"), ("b", "y"), copies=1), "zones", 1),
    ],
)
def test_the_level_is_the_highest_with_enough_domains(
    layout: Layout, level: str, quorum: int
) -> None:
    domains = FailureDomains(layout)
    assert (domains.level, domains.quorum) == (level, quorum)


def test_two_copies_in_one_zone_are_one() -> None:
    domains = FailureDomains(layout_of(("a", "x"), ("b", "y"), ("c", "y")))
    assert not domains.reach_quorum(["s1", "s2"])
    assert domains.reach_quorum(["s0", "s2"])


@given(layouts(), st.data())
def test_what_spans_survives_the_loss_of_any_domain_but_one(
    layout: Layout, data: st.DataObject
) -> None:
    domains = FailureDomains(layout)
    ids = [label.store_id for label in layout.stores]
    held = data.draw(st.sets(st.sampled_from(ids)))
    lost = domains.of(data.draw(st.sampled_from(ids)))
    left = [name for name in held if domains.of(name) != lost]
    if domains.reach_quorum(held):
        assert len(left) >= domains.quorum - 1
    else:
        assert len({domains.of(name) for name in held}) < domains.quorum


@settings(deadline=None)  # a table is computed
@given(layouts(), st.integers(0, PARTITIONS - 1))
def test_the_homes_of_every_chunk_span_the_quorum(layout: Layout, partition: int) -> None:
    table = table_of(layout)
    assert FailureDomains(layout).reach_quorum(table.orders[partition][: table.copies])
    assert write_quorum(layout) == min(2, table.copies)

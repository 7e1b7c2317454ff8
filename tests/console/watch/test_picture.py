"""Whether all is whole, in words; and that who is not reached is known before its row is old."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from treescale.chunks.format.placement import PARTITIONS
from treescale.cluster.advice import NOTHING_LOST
from treescale.cluster.snapshot import Snapshot
from treescale.cluster.status import ClusterStatus, Condition, status_of
from treescale.console.watch.picture import (
    Looked,
    alive,
    as_reached,
    labels,
    seconds_left,
    verdict,
)
from treescale.console.watch.sights import Moments
from treescale.metadata.records import (
    LayoutRecord,
    LayoutStore,
    LostData,
    ServerRecord,
    StoreRecord,
    StoreWalk,
)

NOW = 1_700_000_000.0
WHOLE = bytes([2]) * PARTITIONS


def seen(*names: str, missing: int = 0, pending: int = 0) -> ClusterStatus:
    """Return servers of one store each, all heard of just now."""
    servers = tuple(
        ServerRecord(f"id-{x}", x, f"http://{x}:5000", "", NOW - 100, seen=NOW) for x in names
    )
    stores = tuple(
        StoreRecord(f"st-{x}", x, "/data", "", 1.0, NOW, server_id=f"id-{x}", seen=NOW)
        for x in names
    )
    labelled = tuple(LayoutStore(f"st-{x}", f"id-{x}", "", 1.0) for x in names)
    walks = tuple(
        StoreWalk(f"st-{x}", 1, pending, missing, 0, rate=0, looked=NOW, verified=NOW)
        for x in names
    )
    layout = LayoutRecord(1, labelled, 2, NOW)
    return status_of(Snapshot(servers, stores, NOW, layout, copies_asked=2, walks=walks))


def test_it_is_whole_when_nothing_is_wanting() -> None:
    told = verdict(seen("a", "b", "c"), WHOLE, NOTHING_LOST)
    assert told.is_whole
    assert told.text == "Everything is whole: each of the 4,096 partitions has its 2 copies."


def test_who_is_not_reached_is_silent_at_once() -> None:
    status = as_reached(seen("a", "b", "c"), {"id-b": False, "id-c": True, "id-x": False})
    assert [one.condition for one in status.servers] == [
        Condition.UP,
        Condition.SILENT,
        Condition.UP,
    ]
    assert alive(status) == {"st-a", "st-c"}
    told = verdict(status, bytes([1, 2] * (PARTITIONS // 2)), NOTHING_LOST)
    assert not told.is_whole
    assert told.sentences == (
        "b does not answer.",
        "Pulls go on: each partition has a copy that can be read.",
        "2,048 partitions of 4,096 have fewer copies than 2.",
    )


def test_what_cannot_be_pulled_is_said() -> None:
    status = as_reached(seen("a", "b", "c"), {"id-b": False, "id-c": False})
    told = verdict(status, bytes([0]) + bytes([1]) * (PARTITIONS - 1), NOTHING_LOST)
    assert "one partition of 4,096 has no copy that can be read now" in told.text
    assert "Pulls go on" not in told.text


def test_what_is_to_be_made_or_lost_or_looked_at_is_not_whole() -> None:
    lost = LostData(chunks=1, blobs=2, links=2, since=NOW, listed=())
    for status, of, says in (
        (seen("a", "b", missing=3), NOTHING_LOST, "6 copies are still to be made."),
        (seen("a", "b", pending=4), NOTHING_LOST, "8 partitions of stores are still"),
        (seen("a", "b"), lost, "one chunk of 2 blobs are lost."),
    ):
        told = verdict(status, WHOLE, of)
        assert not told.is_whole
        assert says in told.text
    none = replace(seen("a"), layout=None)
    assert not verdict(none, b"", NOTHING_LOST).is_whole


def test_machines_of_one_name_are_told_apart() -> None:
    status = seen("a", "b", "c")
    same = tuple(replace(one, name="vm") for one in status.servers[:2])
    found = labels(replace(status, servers=(*same, status.servers[2])))
    assert [*found.values()] == ["vm (a:5000)", "vm (b:5000)", "c"]


@given(st.lists(st.integers(0, 10_000), max_size=20))
def test_the_time_left_is_known_only_while_it_gets_less(left: list[int]) -> None:
    looks = [Looked(float(place), value) for place, value in enumerate(left)]
    found = seconds_left(looks)
    if found is not None:
        assert left[0] > left[-1] > 0
        assert found > 0
    elif len(left) >= 3:
        assert left[-1] == 0 or left[-1] >= left[0]


def test_since_when_it_is_broken_and_mended() -> None:
    moments = Moments()
    moments.note(1.0, is_whole=True)
    assert (moments.broken, moments.mended) == (0.0, 0.0)
    for now, is_whole in ((2.0, False), (3.0, False)):
        moments.note(now, is_whole=is_whole)
        assert (moments.broken, moments.mended) == (2.0, 0.0)
    for now in (5.0, 6.0):
        moments.note(now, is_whole=True)
        assert (moments.broken, moments.mended) == (0.0, 5.0)

"""When a server may be stopped, as the rows tell."""

from dataclasses import replace

from tests.tables import each_row
from treescale.cluster.snapshot import Snapshot
from treescale.cluster.status import redundancy, status_of
from treescale.metadata.records import (
    LayoutRecord,
    LayoutStore,
    OwedCopies,
    ServerRecord,
    StoreRecord,
    StoreWalk,
)

NOW = 1_700_000_000.0


def cluster(names: str, copies: int = 2) -> Snapshot:
    """Return servers with a store each, all well, all looked at."""
    return Snapshot(
        tuple(ServerRecord(n, f"host-{n}", f"http://{n}", "", NOW, seen=NOW) for n in names),
        tuple(
            StoreRecord(n, f"host-{n}", "/data", "", 1.0, NOW, server_id=n, seen=NOW) for n in names
        ),
        NOW,
        LayoutRecord(1, tuple(LayoutStore(n, n, "", 1.0) for n in names), copies, NOW),
        copies_asked=copies,
        walks=tuple(StoreWalk(n, 1, 0, 0, 0, rate=0, looked=NOW, verified=NOW) for n in names),
    )


def changed(rows: Snapshot, layout: int = 1, pending: int = 0, missing: int = 0) -> Snapshot:
    """Return the rows with another walk of the first store; it has copies of others' as well."""
    first, *others = rows.walks
    walk = replace(first, layout=layout, pending=pending, missing=missing, misplaced=9)
    return replace(rows, walks=(walk, *others))


WHOLE = cluster("abc")


@each_row(
    ("rows", "may_stop", "says"),
    [
        (WHOLE, True, "any one server may be stopped now"),
        (changed(WHOLE), True, "any one server may be stopped now"),
        (cluster("ab"), True, "pushes are refused meanwhile"),
        (cluster("a", 1), False, "none may be stopped unnoticed"),
        (cluster("abc", 1), False, "none may be stopped unnoticed"),
        (replace(WHOLE, layout=None), False, "none may be stopped unnoticed"),
        (changed(WHOLE, missing=1204), False, "wait: 1,204 copies are missing"),
        (changed(WHOLE, pending=7), False, "wait: 7 partitions are still"),
        (changed(WHOLE, layout=0), False, "wait: 4,096 partitions are still"),
        (replace(WHOLE, walks=WHOLE.walks[1:]), False, "wait: 4,096 partitions are still"),
        (replace(WHOLE, missing=(OwedCopies("a", 3, NOW),)), False, "wait: 3 copies are missing"),
        (replace(WHOLE, now=NOW + 60), False, "wait: stores of host-a, host-b, host-c are away"),
        (replace(WHOLE, copies_asked=3), False, "wait: the layout is about to change"),
    ],
)
def test_the_answer(rows: Snapshot, says: str, *, may_stop: bool) -> None:
    found = redundancy(status_of(rows))
    assert says in found.text
    assert found.may_stop is may_stop

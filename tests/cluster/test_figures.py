"""What `cluster status` says and advises in each situation: only what is known, and what helps."""

from dataclasses import dataclass, replace
from typing import Final

import pytest

from tests.cluster.cluster import BEGIN, row
from tests.cluster.test_data_loss import table
from tests.cluster.test_status import HEALTHY, THREE, layout, server, silence
from tests.contracts.metadata_values import ACTOR, large, part
from tests.tables import each_row
from treescale.cluster import queries
from treescale.cluster.advice import NOTHING_LOST, advice
from treescale.cluster.placement_report import (
    NOTHING_UNCOUNTED,
    Uncounted,
    all_uncounted,
    uncounted,
)
from treescale.cluster.queries import uncounted_of
from treescale.cluster.snapshot import Snapshot
from treescale.cluster.status import Condition, status_of
from treescale.metadata.database import Database
from treescale.metadata.records import (
    LayoutRecord,
    LostBlob,
    LostData,
    OwedCopies,
)
from treescale.metadata.records import (
    StoreState as State,
)

FULL = "full: /b has 5 bytes free and keeps 9: no room for 0 more; add a disk or delete images"
FULL_OF_010 = "/b has 5 bytes free and keeps 9: no room for 0 more; add a disk or delete images"
READ_ONLY = "/b is mounted read-only; remount it to write again"
BROKEN = "/b failed when written to: Input/output error; writing to it has ended: check the disk"
SILENT = "/b: the disk does not answer"


def with_b(**changes: object) -> Snapshot:
    """Return three healthy servers of which b's store is otherwise."""
    return replace(HEALTHY, stores=(THREE[0], replace(THREE[1], **changes), THREE[2]))  # type: ignore[arg-type]


def in_trouble(trouble: str) -> Snapshot:
    return with_b(trouble=trouble, seen=BEGIN - 100)


@dataclass(frozen=True)
class Situation:
    """Rows, the condition of b's store, and of each advice its subject and words in it or not."""

    rows: Snapshot
    condition: Condition = Condition.UP
    says: tuple[tuple[str, str], ...] = ()
    never: tuple[str, ...] = ()
    lost: LostData = NOTHING_LOST
    uncounted: Uncounted = NOTHING_UNCOUNTED


LOST = LostData(
    chunks=3,
    blobs=2,
    links=2,
    since=BEGIN - 7200,
    listed=(
        LostBlob("alice/app", "sha256:aa", 9, BEGIN, 2, (), ("1", "latest")),
        LostBlob("bob/app", "sha256:bb", 9, BEGIN, 1, (), ()),
    ),
)
TWO_LEFT = replace(
    silence(in_trouble(FULL), 60.0, "c"), layout=layout(*THREE, copies=3), copies_asked=3
)
SITUATIONS: Final = {
    "well": Situation(HEALTHY, never=("forget", "owed", "lost")),
    "empty cluster": Situation(Snapshot((), (), BEGIN)),
    "no-store": Situation(
        replace(HEALTHY, servers=(*HEALTHY.servers, server("gate"))), never=("gate",)
    ),
    "server down": Situation(
        silence(HEALTHY, 60.0, "b"),
        Condition.SILENT,
        says=(("server", "restarting"),),
        never=("forget",),
    ),
    "server down for long": Situation(
        silence(HEALTHY, 7200.0, "b"), Condition.SILENT, says=(("server", "forget b`"),)
    ),
    "server stopped": Situation(
        replace(
            HEALTHY,
            servers=(HEALTHY.servers[0], replace(HEALTHY.servers[1], seen=0.0), HEALTHY.servers[2]),
        ),
        Condition.STOPPED,
        says=(("server", "was stopped"), ("server", "forget b`")),
        never=("silent",),
    ),
    "store full": Situation(
        in_trouble(FULL),
        Condition.FULL,
        says=(("room", "full and takes no more; what it holds is read"),),
        never=("forget", "lost", "Check the disk", "delete images"),
    ),
    "store full, of version 0.1.0": Situation(
        in_trouble(FULL_OF_010), Condition.FULL, says=(("room", "is full"),), never=("forget",)
    ),
    "store nearly full": Situation(
        with_b(bytes_total=100, bytes_free=5), says=(("room", "95% full"),), never=("forget",)
    ),
    "store read-only": Situation(
        in_trouble(READ_ONLY),
        Condition.TROUBLE,
        says=(("store", "What it holds is read"), ("store", "remount")),
        never=("forget",),
    ),
    "disk broken": Situation(
        in_trouble(BROKEN),
        Condition.TROUBLE,
        says=(("store", "Input/output error"), ("store", "Only if the disk is lost for good")),
    ),
    "disk hangs": Situation(
        in_trouble(SILENT),
        Condition.TROUBLE,
        says=(("store", "does not answer"), ("store", "by itself when it is well")),
    ),
    "all but one full": Situation(
        replace(
            in_trouble(FULL),
            stores=(
                replace(THREE[0], trouble=FULL, seen=BEGIN - 100),
                replace(THREE[1], trouble=FULL, seen=BEGIN - 100),
                THREE[2],
            ),
        ),
        Condition.FULL,
        says=(("pushes", "Make room on the disks that are full"),),
        never=("Bring back", "forget"),
    ),
    "one full and one down": Situation(
        TWO_LEFT,
        Condition.FULL,
        says=(("pushes", "Bring back the servers that are down; make room"),),
    ),
    "drained": Situation(
        replace(with_b(state=State.DRAINING), layout=layout(THREE[0], THREE[2])),
        never=("b`", "forget"),
    ),
    "draining and held": Situation(
        replace(with_b(state=State.DRAINING), copies_asked=3), says=(("layout", "stays"),)
    ),
    "copies raised past the stores": Situation(
        replace(HEALTHY, copies_asked=4), says=(("copies", "4 copies are wanted"),)
    ),
    "copies owed, nobody down": Situation(
        replace(HEALTHY, missing=(OwedCopies("b", 2, BEGIN - 7200),)),
        says=(("owed", "since 2 h"), ("owed", "A pull that meets")),
        never=("Bring back",),
    ),
    "copies owed to who is down": Situation(
        replace(silence(HEALTHY, 7200.0, "b"), missing=(OwedCopies("b", 2, BEGIN - 7200),)),
        Condition.SILENT,
        says=(("owed", "Bring back what is down"),),
    ),
    "forgotten half-way": Situation(
        replace(HEALTHY, missing=(OwedCopies("gone", 3, BEGIN - 10),)),
        says=(("owed", "forget gone`"),),
    ),
    "replaced": Situation(
        HEALTHY,
        says=(
            ("owed", "how many copies are missing is not known"),
            ("owed", "of 4,096 partitions"),
        ),
        never=("up to",),
        uncounted=uncounted(table("abd", 3), [table("abc", 3)]),
    ),
    "replaced among very many": Situation(
        HEALTHY, says=(("owed", "in up to 4,096 of 4,096"),), uncounted=all_uncounted("abc")
    ),
    "data lost": Situation(
        HEALTHY,
        says=(
            ("lost", "2 blobs are lost since 2 h"),
            ("lost", "alice/app:1, alice/app:latest, bob/app (without a tag, blob sha256:bb)"),
        ),
        never=("forget",),
        lost=LOST,
    ),
}


@each_row("name", SITUATIONS)
def test_a_situation(name: str) -> None:
    situation = SITUATIONS[name]
    seen = status_of(situation.rows)
    if len(seen.stores) > 1:
        assert seen.stores[1].condition is situation.condition
    found = advice(seen, lost=situation.lost, uncounted=situation.uncounted)
    for about, words in situation.says:
        assert any(words in each.text for each in found if each.about == about), found
    everything = "\n".join(each.text for each in found)
    for words in situation.never:
        assert words not in everything


async def a_layout(database: Database, stores: str, copies: int) -> None:
    before = await database.layouts.latest()
    number = 1 if before is None else before.number + 1
    made = layout(*(row(name) for name in stores), copies=copies)
    assert await database.layouts.propose(
        LayoutRecord(number, made.stores, copies, BEGIN), actor=ACTOR
    )


async def some_stores(database: Database, names: str) -> None:
    for name in names:
        await database.stores.register(row(name))


async def pushed(database: Database, number: int, layout_number: int | None) -> None:
    blob = replace(large(number, part(number)), layout=layout_number)
    await database.blobs.commit("alice/app", blob, upload_id=None, now=BEGIN, actor=ACTOR)


async def test_while_nothing_moved_what_is_owed_is_known(database: Database) -> None:
    assert (await uncounted_of(database)).partitions == 0
    await some_stores(database, "abc")
    for names in ("a", "ab", "abc"):
        await a_layout(database, names, len(names))
    assert (await uncounted_of(database)).partitions == 0, "nothing was placed"
    await pushed(database, 1, 3)
    assert (await uncounted_of(database)).partitions == 0, "all of it by the present layout"


async def test_after_a_server_was_replaced_nobody_knows(database: Database) -> None:
    await some_stores(database, "abcd")
    await a_layout(database, "abc", 3)
    await pushed(database, 1, 1)
    await a_layout(database, "abd", 3)
    for existing in ("abcd", "abd"):
        found = await uncounted_of(database)
        assert (found.partitions, found.exact, found.partitions_of("d")) == (4096, True, 4096)
        assert found.partitions_of("a") == 0
        if existing == "abcd":
            await database.stores.remove("c", actor=ACTOR)


async def test_after_more_copies_were_asked_for_nobody_knows(database: Database) -> None:
    await some_stores(database, "abc")
    await a_layout(database, "abc", 2)
    await pushed(database, 1, None)
    await a_layout(database, "abc", 3)
    assert (await uncounted_of(database)).partitions == 4096
    await a_layout(database, "abc", 2)
    assert (await uncounted_of(database)).partitions == 0


async def test_the_work_is_bounded(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    await some_stores(database, "abcd")
    await a_layout(database, "abc", 3)
    await pushed(database, 1, 1)
    await a_layout(database, "abd", 3)
    monkeypatch.setattr(queries, "STORES_TABLED_MAX", 5)
    found = await uncounted_of(database)
    assert (found.partitions, found.exact) == (4096, False)

"""Who is asked to take a chunk: the homes, and for one that fails the best of the rest."""

from hypothesis import given
from hypothesis import strategies as st

from tests.chunks.layouts import layout_of, table_of, tables
from tests.contracts.chunk_store import chunk_of
from treescale.chunks.format.failure_domains import FailureDomains
from treescale.chunks.format.placement import Table
from treescale.chunks.replication.write_plan import (
    CONGESTED_FACTOR,
    CONGESTED_SECONDS_MIN,
    WritePlan,
    is_congested,
)
from treescale.errors import StoreFull

CHUNKS = st.integers(0, 200).map(lambda number: chunk_of(number)[0])
TWO_ZONES = table_of(layout_of(((1,), (1, 1)), 3))
CHUNK = chunk_of(1)[0]


def plan_of(
    table: Table,
    chunk: bytes,
    *,
    down: frozenset[str] = frozenset(),
    doubtful: str = "",
    congested: str = "",
) -> WritePlan:
    return WritePlan(
        table,
        FailureDomains(table.layout),
        chunk,
        is_up=lambda name: name not in down,
        is_passed_over=lambda name: name in doubtful.split(),
        is_congested=lambda name: name in congested.split(),
    )


@given(tables(), CHUNKS)
def test_when_all_is_well_the_homes_are_asked_and_nobody_else(table: Table, chunk: bytes) -> None:
    plan = plan_of(table, chunk)
    assert tuple(plan.due()) == table.homes(chunk)
    for name in table.homes(chunk):
        plan.took(name)
        assert plan.due() == []
    assert plan.is_acknowledged
    placed = plan.placed()
    assert placed.stores == table.homes(chunk)
    assert placed.owed == ()


@given(tables(), CHUNKS, st.data())
def test_whatever_happens_quorum_and_debts_are_right(
    table: Table, chunk: bytes, data: st.DataObject
) -> None:
    """Every store has a fate; the plan is played to its end."""
    names = [label.store_id for label in table.layout.stores]
    fates = {
        name: data.draw(st.sampled_from(["takes", "fails", "down", "doubtful", "late", "lost"]))
        for name in names
    }
    down = frozenset(name for name in names if fates[name] == "down")
    able = {name for name in names if fates[name] in {"takes", "doubtful", "late"}}
    doubtful = " ".join(name for name in names if fates[name] == "doubtful")
    congested = " ".join(data.draw(st.sets(st.sampled_from(names))))
    plan = plan_of(table, chunk, down=down, doubtful=doubtful, congested=congested)
    domains = FailureDomains(table.layout)
    asked: list[str] = []
    late: list[str] = []
    while due := plan.due():
        assert not down & set(due)
        asked += due
        for name in due:
            if name in able and fates[name] != "late":
                plan.took(name)
            elif fates[name] in {"late", "lost"}:
                plan.late(name)
                late.append(name)
            else:
                plan.failed(name, StoreFull(""))
    for name in late:
        if fates[name] == "late":
            plan.took(name)
        else:
            plan.failed(name, StoreFull(""))
    assert len(asked) == len(set(asked))
    held = {name for name in asked if name in able}
    assert set(plan.placed().stores) == held
    assert set(plan.placed().owed) == set(table.homes(chunk)) - held
    # The quorum is had exactly when it can be had.
    assert plan.is_acknowledged == domains.reach_quorum(held) == domains.reach_quorum(able)
    assert plan.is_hopeless == (not plan.is_acknowledged)
    if not plan.is_hopeless and not doubtful:
        later = {*congested.split()} & {*table.homes(chunk)} - {*asked} - down
        assert len(held) >= min(table.copies, len(able) - len(late)) - len(later)


def test_a_handoff_is_where_it_helps() -> None:
    table = table_of(layout_of(((1,), (2, 1, 2)), 2))
    far, near = table.homes(CHUNK)
    if far[:2] != "z0":
        far, near = near, far
    plan = plan_of(table, CHUNK)
    plan.due()
    plan.took(far)
    plan.failed(near, StoreFull(""))
    (handoff,) = plan.due()
    assert handoff[:2] == near[:2]
    assert plan.placed().owed == (near,)
    plan.took(handoff)
    assert plan.is_acknowledged
    assert set(plan.placed().stores) == {far, handoff}


def test_a_zone_that_is_away_makes_it_hopeless_at_once() -> None:
    plan = plan_of(TWO_ZONES, CHUNK, down=frozenset({"z0s0d0"}))
    plan.due()
    assert plan.is_hopeless


def test_one_that_failed_makes_it_hopeless_though_others_are_on_their_way() -> None:
    plan = plan_of(TWO_ZONES, CHUNK)
    assert len(plan.due()) == 3
    plan.failed("z0s0d0", StoreFull(""))
    assert plan.due() == []
    assert plan.is_hopeless


def test_a_store_in_doubt_is_asked_only_when_there_is_no_quorum_without_it() -> None:
    servers = table_of(layout_of(((1, 1, 1),), 3))
    assert len(plan_of(servers, CHUNK, doubtful="z0s1d0").due()) == 2
    assert "z0s0d0" in plan_of(TWO_ZONES, CHUNK, doubtful="z0s0d0").due()


def test_one_that_is_late_may_still_make_the_quorum() -> None:
    plan = plan_of(TWO_ZONES, CHUNK)
    plan.due()
    plan.late("z0s0d0")
    assert plan.due() == []
    assert not plan.is_hopeless
    plan.took("z1s0d0")
    plan.took("z0s0d0")
    assert plan.is_acknowledged


THREE = table_of(layout_of(((1, 1, 1, 1),), 3))


def test_a_congested_home_is_owed_its_copy_and_no_handoff_takes_it() -> None:
    congested = THREE.homes(CHUNK)[0]
    plan = plan_of(THREE, CHUNK, congested=congested)
    first, second = plan.due()
    assert {first, second} == set(THREE.homes(CHUNK)) - {congested}
    plan.took(first)
    assert not plan.is_acknowledged
    plan.took(second)
    assert plan.is_acknowledged
    assert plan.due() == []
    assert plan.placed().owed == (congested,)


def test_a_home_that_lets_requests_hang_has_a_handoff_however_congested() -> None:
    hung = THREE.homes(CHUNK)[0]
    asked = plan_of(THREE, CHUNK, congested=hung, doubtful=hung).due()
    assert len(asked) == 3
    assert hung not in asked


def test_a_congested_home_is_asked_when_there_is_no_quorum_without_it() -> None:
    congested, first, second = THREE.homes(CHUNK)
    plan = plan_of(THREE, CHUNK, congested=congested)
    assert set(plan.due()) == {first, second}
    plan.failed(first, StoreFull(""))
    assert plan.due()[0] == congested
    plan.took(congested)
    plan.took(second)
    assert plan.is_acknowledged


def test_as_many_homes_as_the_quorum_needs_are_asked_however_congested() -> None:
    for copies in (1, 2):
        table = table_of(layout_of(((1, 1, 1),), copies))
        homes = table.homes(CHUNK)
        assert tuple(plan_of(table, CHUNK, congested=" ".join(homes)).due()) == homes
    asked = plan_of(THREE, CHUNK, congested=" ".join(THREE.homes(CHUNK))).due()
    assert tuple(asked) == THREE.homes(CHUNK)[:2]


def test_the_quorum_of_zones_is_kept_when_a_zone_is_congested() -> None:
    plan = plan_of(TWO_ZONES, CHUNK, congested="z0s0d0")
    asked = plan.due()
    assert "z0s0d0" in asked
    assert len(asked) == 3


@given(st.floats(0, 10), st.lists(st.integers(0, 10**9), min_size=1))
def test_never_are_all_congested_and_who_is_fast_is_not(seconds: float, of_all: list[int]) -> None:
    congested = [count for count in of_all if is_congested(seconds, count, of_all)]
    assert len(congested) < len(of_all)
    mean = sum(of_all) / len(of_all)
    assert all(count > CONGESTED_FACTOR * mean for count in congested)
    assert not congested or seconds >= CONGESTED_SECONDS_MIN

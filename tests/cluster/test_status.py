"""The picture of a cluster, from rows alone."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cluster.cluster import BEGIN, row
from tests.tables import each_row
from treescale.cluster.advice import Advice, advice
from treescale.cluster.layout import Blocked
from treescale.cluster.snapshot import Snapshot
from treescale.cluster.status import ClusterStatus, Condition, drained, in_words, status_of
from treescale.metadata.records import (
    LayoutRecord,
    LayoutStore,
    OwedCopies,
    ServerRecord,
    StoreRecord,
    Throughput,
    Unreached,
)
from treescale.metadata.records import StoreState as State

UP, SILENT = Condition.UP, Condition.SILENT


def server(name: str, silent: float = 0.0) -> ServerRecord:
    return ServerRecord(
        f"on-{name}", name, f"http://{name}:5000", "", started=BEGIN - 1000, seen=BEGIN - silent
    )


def layout(*stores: StoreRecord, copies: int = 2) -> LayoutRecord:
    labels = (LayoutStore(each.store_id, each.server_id, each.zone, each.weight) for each in stores)
    return LayoutRecord(7, tuple(labels), copies, BEGIN - 500)


THREE = tuple(row(name) for name in "abc")
HEALTHY = Snapshot(
    servers=tuple(server(name) for name in "abc"),
    stores=THREE,
    layout=layout(*THREE, copies=3),
    missing=(),
    copies_asked=None,
    now=BEGIN,
)


def about(seen: ClusterStatus, clock_error: float = 0.0) -> list[str]:
    return [each.about for each in advice(seen, clock_error=clock_error)]


def told(rows: Snapshot, about: str, clock_error: float = 0.0) -> str:
    found: list[Advice] = [
        each for each in advice(status_of(rows), clock_error=clock_error) if each.about == about
    ]
    return "\n".join(each.text for each in found)


def silence(rows: Snapshot, seconds: float, *names: str) -> Snapshot:
    """Let these servers, and their stores, have been silent for so long."""
    seen = BEGIN - seconds
    return replace(
        rows,
        servers=tuple(
            replace(each, seen=seen) if each.name in names else each for each in rows.servers
        ),
        stores=tuple(
            replace(each, seen=seen) if each.server_id.removeprefix("on-") in names else each
            for each in rows.stores
        ),
    )


def test_a_cluster_that_is_well_needs_no_advice() -> None:
    seen = status_of(HEALTHY)
    assert about(seen) == []
    assert [each.condition for each in seen.servers] == [UP] * 3
    assert [each.condition for each in seen.stores] == [UP] * 3
    assert (seen.layout_due, seen.copies_wanted, seen.owed) == (False, 3, 0)
    assert all(store.in_layout for store in seen.stores)


def test_no_rows_no_advice() -> None:
    assert about(status_of(Snapshot((), (), BEGIN))) == []


def test_who_is_silent_is_read_off_the_databases_clock() -> None:
    seen = status_of(silence(HEALTHY, 15.0, "b"))
    assert seen.servers[1].condition is UP
    seen = status_of(silence(HEALTHY, 16.0, "b"))
    assert [each.condition for each in seen.servers] == [UP, SILENT, UP]
    assert [each.condition for each in seen.stores] == [UP, SILENT, UP]


def test_throughput_is_told_of_servers_that_are_up() -> None:
    passing = Throughput(1, 2, 3, 4)
    servers = tuple(replace(each, throughput=passing) for each in HEALTHY.servers)
    rows = replace(HEALTHY, servers=servers)
    assert [each.throughput for each in status_of(rows).servers] == [passing] * 3
    seen = status_of(silence(rows, 16.0, "b"))
    assert [each.throughput for each in seen.servers] == [passing, None, passing]


def test_a_server_that_is_silent_for_a_moment_may_be_restarting() -> None:
    assert "restarting" in told(silence(HEALTHY, 40.0, "b"), "server")
    assert "40 s" in told(silence(HEALTHY, 40.0, "b"), "server")


def test_a_server_that_is_silent_for_long_may_be_forgotten() -> None:
    text = told(silence(HEALTHY, 7200.0, "b"), "server")
    assert "2 h" in text
    assert "treescale cluster forget b`" in text


def test_servers_of_one_name_are_told_apart_by_address() -> None:
    twins = tuple(replace(each, name="node") for each in HEALTHY.servers)
    rows = silence(replace(HEALTHY, servers=twins), 7200.0, "node")
    assert "forget http://b:5000`" in told(rows, "server")


def test_a_gateway_that_went_takes_nothing_along() -> None:
    rows = replace(HEALTHY, servers=(*HEALTHY.servers, server("gate", 9999.0)))
    assert "no stores" in told(rows, "server")


def test_pushes_are_refused_when_too_few_domains_are_up() -> None:
    rows = silence(HEALTHY, 60.0, "b", "c")
    text = told(rows, "pushes")
    assert "refused" in text
    assert "2 servers and 1 can be written to" in text
    assert told(silence(HEALTHY, 60.0, "b"), "pushes") == ""


def test_two_zones_count_as_two_whatever_their_servers() -> None:
    stores = tuple(row(name, zone="east" if name in "ab" else "west") for name in "abcd")
    servers = tuple(server(name) for name in "abcd")
    rows = replace(HEALTHY, servers=servers, stores=stores, layout=layout(*stores, copies=3))
    assert "One more zone" in told(rows, "pushes")
    text = told(silence(rows, 60.0, "c", "d"), "pushes")
    assert "pushes are refused: copies must lie on 2 zones and 1" in text


def test_a_draining_store_is_no_domain_though_it_is_up() -> None:
    stores = (THREE[0], THREE[1], replace(THREE[2], state=State.DRAINING))
    rows = replace(HEALTHY, stores=stores, layout=layout(*stores[:2]))
    assert "refused" in told(silence(rows, 60.0, "b"), "pushes")
    assert drained(status_of(rows).stores[2])


def test_with_all_servers_silent_nothing_else_matters_first() -> None:
    rows = silence(HEALTHY, 60.0, "a", "b", "c")
    assert "no server is up" in told(rows, "pushes")


def test_a_disk_in_trouble_is_told_with_its_reason() -> None:
    sick = replace(THREE[1], trouble="input/output error", seen=BEGIN - 100)
    rows = replace(HEALTHY, stores=(THREE[0], sick, THREE[2]))
    assert status_of(rows).stores[1].condition is Condition.TROUBLE
    assert "input/output error" in told(rows, "store")
    # Of a server that is silent the old word of trouble is no news.
    assert status_of(silence(rows, 60.0, "b")).stores[1].condition is SILENT


def test_a_store_its_server_speaks_of_no_more() -> None:
    rows = replace(HEALTHY, stores=(THREE[0], replace(THREE[1], seen=BEGIN - 100), THREE[2]))
    assert "--data" in told(rows, "store")


@pytest.mark.parametrize(("free", "says"), [(11, ""), (10, "90% full"), (None, "")])
def test_a_disk_that_fills_up(free: int | None, says: str) -> None:
    full = replace(THREE[0], bytes_total=100, bytes_free=free)
    text = told(replace(HEALTHY, stores=(full, *THREE[1:])), "room")
    assert says in text
    assert bool(text) == bool(says)


def test_copies_that_find_no_stores() -> None:
    assert "4 copies are wanted" in told(replace(HEALTHY, copies_asked=4), "copies")


def test_one_copy_on_several_servers_is_worth_a_word() -> None:
    rows = replace(HEALTHY, copies_asked=1, layout=layout(*THREE, copies=1))
    assert "set copies=2" in told(rows, "copies")
    alone = replace(HEALTHY, servers=HEALTHY.servers[:1], stores=THREE[:1])
    assert told(replace(alone, layout=layout(THREE[0], copies=1)), "copies") == ""


def test_a_store_held_in_the_layout_is_told_with_its_reason() -> None:
    stores = (*THREE[:2], replace(THREE[2], state=State.DRAINING))
    rows = replace(HEALTHY, stores=stores, copies_asked=3)
    seen = status_of(rows)
    assert seen.held == {"c": Blocked.TOO_FEW_LEFT}
    assert Blocked.TOO_FEW_LEFT.value in told(rows, "layout")


def test_a_layout_that_is_due() -> None:
    assert status_of(replace(HEALTHY, copies_asked=2)).layout_due
    assert "no store is in a layout yet" in told(replace(HEALTHY, layout=None), "layout")


def test_what_is_owed_is_summed_and_its_age_told() -> None:
    owed = (OwedCopies("a", 2, BEGIN - 7200), OwedCopies("gone", 3, BEGIN - 10))
    rows = replace(HEALTHY, missing=owed)
    seen = status_of(rows)
    assert (seen.owed, seen.owed_since) == (5, BEGIN - 7200)
    assert [store.owed for store in seen.stores] == [2, 0, 0]
    assert [debt.store_id for debt in seen.owed_to_forgotten] == ["gone"]
    text = told(rows, "owed")
    assert "since 2 h" in text
    assert "forget gone`" in text
    assert told(replace(HEALTHY, missing=(OwedCopies("a", 2, BEGIN - 60),)), "owed") == ""


@pytest.mark.parametrize(("error", "side"), [(4.9, ""), (-7.0, "behind"), (90.0, "ahead of")])
def test_clocks_apart(error: float, side: str) -> None:
    text = told(HEALTHY, "clock", error)
    assert side in text
    assert bool(text) == bool(side)


@each_row(
    ("error", "said"), [(4.9, ""), (-7.0, "7 s behind"), (600.0, "10 min ahead of"), (None, "")]
)
def test_every_server_s_clock_is_seen_from_anywhere(error: float | None, said: str) -> None:
    first, *others = HEALTHY.servers
    rows = replace(HEALTHY, servers=(replace(first, clock_error=error), *others))
    text = told(rows, "clock")
    assert said in text
    assert bool(text) == bool(said)
    assert not said or first.name in text
    view = next(one for one in status_of(rows).servers if one.server_id == first.server_id)
    assert view.clock_error == error
    silent = replace(rows, servers=(replace(rows.servers[0], seen=BEGIN - 3600), *others))
    assert told(silent, "clock") == "", "what it said then is no news"


@each_row(
    ("days", "said"),
    [
        (14.1, ""),
        (13.9, "ends in 14 days"),
        (0.5, "ends in 12 h"),
        (-3.0, "has expired 3 days ago"),
        (None, ""),
    ],
)
def test_a_certificate_that_ends_soon_is_named(days: float | None, said: str) -> None:
    first, *others = HEALTHY.servers
    ends = None if days is None else HEALTHY.now + days * 86_400
    rows = replace(HEALTHY, servers=(replace(first, certificate_expires=ends), *others))
    text = told(rows, "certificate")
    assert said in text
    assert bool(text) == bool(said)
    assert not said or (first.name in text and "Renew it" in text)
    silent = replace(rows, servers=(replace(rows.servers[0], seen=BEGIN - 3600), *others))
    assert told(silent, "certificate") == "", "what it said then is no news"


def test_a_server_that_others_do_not_reach_is_named_with_their_reason() -> None:
    first, second, *others = HEALTHY.servers
    why = "no connection to http://ts-1..x:5000: no such name"
    telling = replace(second, unreached=(Unreached(first.server_id, why),))
    rows = replace(HEALTHY, servers=(first, telling, *others))
    text = told(rows, "server")
    assert first.name in text.partition(" is up, but not for ")[0]
    assert second.name in text.partition(" is up, but not for ")[2]
    assert why in text
    assert "--advertise" in text
    silent = replace(telling, seen=BEGIN - 3600)
    text = told(replace(rows, servers=(first, silent, *others)), "server")
    assert why not in text, "what it said then is no news"
    gone = replace(first, seen=BEGIN - 3600)
    text = told(replace(rows, servers=(gone, telling, *others)), "server")
    assert "silent" in text
    assert why not in text, "nobody reaches it: it is down"


def test_a_server_started_in_the_future_has_a_clock_that_is_ahead() -> None:
    early = replace(HEALTHY.servers[0], started=BEGIN + 120)
    assert "ahead" in told(replace(HEALTHY, servers=(early, *HEALTHY.servers[1:])), "clock")


def test_rows_of_before_there_were_heartbeats_are_not_called_silent() -> None:
    old = StoreRecord("a", "host", "/a", "", 1.0, BEGIN - 9999, seen=BEGIN - 9999)
    seen = status_of(Snapshot((), (old, replace(old, store_id="b")), BEGIN))
    assert [(each.name, each.stores) for each in seen.servers] == [("host", 2)]
    assert {each.condition for each in seen.stores} == {Condition.STOPPED}
    assert about(seen) == []


def test_a_server_that_never_said_a_word() -> None:
    mute = replace(HEALTHY.servers[0], seen=0.0)
    seen = status_of(replace(HEALTHY, servers=(mute, *HEALTHY.servers[1:])))
    assert (seen.servers[0].condition, seen.servers[0].heard) == (Condition.STOPPED, None)


@each_row(
    ("seconds", "words"),
    [
        (-1, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (7199, "2 h"),
        (86_400, "24 h"),
        (200_000, "2 days"),
    ],
)
def test_time_is_told_as_people_do(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


@given(
    silent=st.lists(st.sampled_from([0.0, 14.0, 60.0, 9999.0]), min_size=3, max_size=3),
    states=st.lists(st.sampled_from(State), min_size=3, max_size=3),
    asked=st.sampled_from([None, 1, 2, 3, 4]),
    free=st.sampled_from([None, 0, 50]),
)
def test_any_rows_make_a_picture(
    silent: list[float], states: list[State], asked: int | None, free: int | None
) -> None:
    stores = tuple(
        replace(each, seen=BEGIN - age, state=state, bytes_total=100, bytes_free=free)
        for each, age, state in zip(THREE, silent, states, strict=True)
    )
    servers = tuple(server(name, age) for name, age in zip("abc", silent, strict=True))
    rows = replace(HEALTHY, servers=servers, stores=stores, copies_asked=asked)
    seen = status_of(rows)
    assert len(seen.stores) == len(seen.servers) == 3
    refused = "pushes are refused" in told(rows, "pushes")
    up = sum(age <= 15 for age in silent)
    assert refused == (up == 1)

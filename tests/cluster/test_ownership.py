"""A disk is known again wherever it is; one that is away, copied or in use is not served."""

import re
from dataclasses import replace

import pytest

from tests.cluster.cluster import BEGIN, row
from treescale.cluster.liveness import LIVE_SECONDS
from treescale.cluster.ownership import Claim, check_ownership, displaced
from treescale.cluster.snapshot import Snapshot
from treescale.errors import StoreUnusable
from treescale.metadata.records import ServerRecord, StoreRecord

NOW = BEGIN + 100
OLD = NOW - LIVE_SECONDS - 1


def server(name: str, *, seen: float = NOW) -> ServerRecord:
    return ServerRecord(name, f"host-{name}", f"http://{name}:5000", "", BEGIN, seen)


A, B = server("A"), server("B")


def disk(name: str, owner: str, *, seen: float = NOW) -> StoreRecord:
    return replace(row(name, owner), server=f"host-{owner}", seen=seen)


def claimed(
    who: ServerRecord,
    disks: dict[str, str],
    *rows: StoreRecord,
    servers: tuple[ServerRecord, ...] = (A, B),
    alone: bool = False,
) -> tuple[Claim, ...]:
    return check_ownership(who, disks, Snapshot(servers, rows, NOW), alone=alone)


def missing(
    who: ServerRecord, there: dict[str, str], *rows: StoreRecord, alone: bool = False
) -> dict[str, tuple[str, str]]:
    return displaced(who, there, Snapshot((A, B), rows, NOW), alone=alone)


def test_new_disks_are_claimed() -> None:
    found = claimed(A, {"d2": "/2", "d1": "/1"}, servers=())
    assert found == (Claim("d1", "A", None), Claim("d2", "A", None))


def test_a_restart_finds_its_own() -> None:
    assert claimed(A, {"d1": "/d1"}, disk("d1", "A")) == (Claim("d1", "A", None),)


def test_a_disk_at_another_path_has_moved() -> None:
    before = disk("d1", "A")
    assert claimed(A, {"d1": "/new"}, before) == (Claim("d1", "A", before),)


def test_disks_may_change_places() -> None:
    one, two = disk("d1", "A"), disk("d2", "A")
    found = claimed(A, {"d1": "/d2", "d2": "/d1"}, one, two)
    assert [claim.moved_from for claim in found] == [one, two]


@pytest.mark.parametrize(
    "servers", [(A, B), (server("A", seen=OLD), B), (B,)], ids=["alive", "dead", "forgotten"]
)
def test_a_disk_of_another_server_is_welcome_when_that_has_let_go_of_it(
    servers: tuple[ServerRecord, ...],
) -> None:
    before = disk("d1", "A", seen=OLD)
    assert claimed(B, {"d1": "/d1"}, before, servers=servers) == (Claim("d1", "A", before),)


def test_a_store_in_use_elsewhere_is_refused() -> None:
    with pytest.raises(
        StoreUnusable, match=r"in use on host-A \(http://A:5000, /d1\).*15 s.*empty"
    ):
        claimed(B, {"d1": "/d1"}, disk("d1", "A", seen=NOW - LIVE_SECONDS))
    with pytest.raises(StoreUnusable, match="in use"):
        claimed(B, {"new": "/n", "d1": "/d1"}, disk("d1", "A", seen=NOW + LIVE_SECONDS))


def test_but_not_when_it_is_ours_under_another_id() -> None:
    """`server.json` was on the disk that is lost; the address is still the same."""
    again = replace(server("new"), address=A.address)
    assert claimed(again, {"d1": "/d1"}, disk("d1", "A")) == (Claim("d1", "A", None),)


def test_an_empty_mount_point_is_not_taken_for_a_new_disk() -> None:
    rows = (disk("d1", "A"), disk("d2", "A"))
    for found in ("", "fresh"):  # nor is what an earlier attempt left there
        ((path, (store_id, why)),) = missing(A, {"/d1": "d1", "/d2": found}, *rows).items()
        assert (path, store_id) == ("/d2", "d2")
        assert re.search(r"/d2 held the store d2.*mounted.*forget d2", why)


def test_nor_that_of_the_first_disk_with_the_servers_id_on_it() -> None:
    again = replace(server("new"), address=A.address)
    assert list(missing(again, {"/d1": ""}, disk("d1", "A"))) == ["/d1"]


def test_what_was_forgotten_may_be_replaced_by_an_empty_directory() -> None:
    assert missing(A, {"/d1": "d1", "/d2": ""}, disk("d1", "A")) == {}


def test_disks_that_changed_places_are_not_missing() -> None:
    rows = (disk("d1", "A"), disk("d2", "A"))
    assert missing(A, {"/d1": "d2", "/d2": "d1"}, *rows) == {}


@pytest.mark.parametrize(
    "disks", [{"d1": "/d1"}, {"d1": "/d1", "fresh": "/elsewhere"}, {"d1": "/d2"}]
)
def test_a_lost_disk_does_not_keep_the_others_from_serving(disks: dict[str, str]) -> None:
    """Whether a directory is in its place or not; but not in that of a store that is missing."""
    rows = (disk("d1", "A"), replace(disk("d2", "A"), path="/d3"))
    assert len(claimed(A, disks, *rows)) == len(disks)
    assert missing(A, {path: name for name, path in disks.items()}, *rows) == {}


def test_the_same_path_on_another_server_is_another_place() -> None:
    assert len(claimed(B, {"fresh": "/d1"}, disk("d1", "A"))) == 1
    for owner in ("A", "C"):  # there is no server C any more
        assert missing(B, {"/d1": ""}, disk("d1", owner)) == {}


def test_a_disk_that_went_to_another_server_leaves_its_place_free() -> None:
    assert missing(A, {"/d1": ""}, disk("d1", "B")) == {}


def old_row(host: str) -> StoreRecord:
    return replace(row("d1"), server=host, server_id="", seen=0.0)


@pytest.mark.parametrize(
    ("host", "alone", "ours"),
    [("host-A", False, True), ("else", True, True), ("else", False, False)],
)
def test_rows_from_before_server_ids(host: str, *, alone: bool, ours: bool) -> None:
    before = old_row(host)
    (claim,) = claimed(A, {"d1": "/d1"}, before, alone=alone)
    assert claim == Claim("d1", "", None if ours else before)
    assert ("/d1" in missing(A, {"/d1": ""}, before, alone=alone)) is ours

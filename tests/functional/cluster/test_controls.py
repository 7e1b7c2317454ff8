"""Negative controls: a protection is switched off, and the same fault does what it must not do."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from tests.functional.cluster.altered import altered
from tests.functional.cluster.clocks import SetClock, is_accepted, may_push
from tests.functional.cluster.conftest import Clusters
from tests.functional.cluster.database import PORT as DATABASE_PORT
from tests.functional.cluster.database import NetworkPostgres
from tests.functional.cluster.load import Load
from tests.functional.cluster.network import Network
from tests.functional.cluster.nodes import PORT, Cluster
from tests.functional.cluster.test_database_away import NOTICED_SECONDS_MAX, outage
from tests.functional.cluster.test_servers_fail import LATE_SECONDS_MAX
from tests.functional.cluster.wire_to_database import Breaks, WireToDatabase
from tests.functional.programs import wait_until
from tests.functional.wire import Unavailable, Wire
from tests.images import noise, sha256_of

UNDER_WAY_BYTES = 32 * 1024 * 1024


def test_with_one_copy_a_kill_is_noticed(clusters: Clusters) -> None:
    cluster = clusters(3, copies=1)
    first, *others = cluster.nodes
    try:
        with Load(others, cluster.account) as load:
            load.lasts(2)
            first.crash()
            wait_until("a request fails", lambda: load.failures != [])
        assert load.unreadable(others[:1]) != []
        first.start()
        cluster.wait_until_whole()
        assert load.unreadable(others[:1]) == []
    finally:
        cluster.crash()


def test_with_one_copy_acknowledged_the_last_server_takes_pushes_nobody_can_read(
    three: Cluster,
) -> None:
    """T03, and T17: without the write quorum."""
    alone, *others = three.nodes
    with alone.otherwise(launcher=altered("acknowledge-one-copy")):
        for node in others:
            node.crash()
        blob = noise(300_003)
        Wire(alone, three.account).push_blob("admin/one-copy", blob)
        alone.crash()
        for node in others:
            node.start()
        answer = Wire(others[0], three.account).request(
            "GET", f"/v2/admin/one-copy/blobs/{sha256_of(blob)}"
        )
        assert answer.status != 200


def test_without_pings_a_silent_server_is_never_noticed(three: Cluster) -> None:
    """T04, T15, T16."""
    watcher, victim, _ = three.nodes
    with watcher.otherwise(launcher=altered("ping-nobody")):
        with Load([watcher], three.account, pushers=0, pullers=0) as load, load.fault() as cut:
            victim.machine.cut()
            load.lasts(4)
        assert watcher.events("peer.state", since=cut) == []
        victim.machine.heal()


def test_without_handoffs_a_push_waits_for_two_servers_that_hang(four: Cluster) -> None:
    """T02, with servers that hang: pings tell of it, but not of requests under way."""
    watcher, first, second, _ = four.nodes
    with watcher.otherwise(launcher=altered("wait-for-the-late")):
        wire, blob = Wire(watcher, four.account), noise(UNDER_WAY_BYTES)
        place = wire.begin_upload("admin/under-way")

        def hung_halfway() -> Iterator[bytes]:
            yield blob[: UNDER_WAY_BYTES // 2]
            first.pause()
            second.pause()
            yield blob[UNDER_WAY_BYTES // 2 :]

        with ThreadPoolExecutor(1) as pushing:
            begun = time.monotonic()
            pushed = pushing.submit(wire.finish_upload, place, sha256_of(blob), hung_halfway())
            wait([pushed], LATE_SECONDS_MAX + 4)
            took = time.monotonic() - begun
            first.resume()
            second.resume()
            pushed.result().expect(201)
        assert took > LATE_SECONDS_MAX


def test_without_memory_nothing_is_pulled_while_the_database_is_away(
    three: Cluster, database_server: NetworkPostgres
) -> None:
    """T57."""
    first, *_ = three.nodes
    with first.otherwise(launcher=altered("remember-nothing")):
        with Load([first], three.account, pushers=0, known=True) as load:
            load.lasts(1)
            with load.fault() as away, outage("hung", database_server, three):
                load.lasts(NOTICED_SECONDS_MAX + 1)
        assert all(sent.refused for sent in load.sent if away + 1 < sent.at < load.ended - 1)
        assert load.failures != []


def test_a_put_again_after_a_lost_answer_is_refused_unless_it_is_known_to_be_done(
    three: Cluster, network: Network
) -> None:
    """T09, T59."""
    first, *_ = three.nodes
    with WireToDatabase(network.address, DATABASE_PORT) as wire_to_database:
        url = first.options.database.replace(f":{DATABASE_PORT}/", f":{wire_to_database.port}/")
        with first.otherwise(launcher=altered("ask-only-once"), database=url):
            wire, blob = Wire(first, three.account), noise(300_004)
            place = wire.begin_upload("admin/once")
            wire_to_database.breaks = Breaks.AFTER
            with pytest.raises(Unavailable):
                wire.finish_upload(place, sha256_of(blob), blob).expect(201)
            wire_to_database.breaks = Breaks.NEVER
            assert wire.finish_upload(place, sha256_of(blob), blob).status == 404


def test_a_server_that_is_looked_for_where_it_was_is_not_found(three: Cluster) -> None:
    """T25."""
    watcher, moving, _ = three.nodes
    with watcher.otherwise(launcher=altered("forget-nobody")):
        three.wait_until_whole()
        with moving.otherwise(port=PORT + 2):
            with pytest.raises(AssertionError, match="every server has met"):
                three.wait_until_met(moving, since=0.0, seconds=8)
            assert watcher.sees(moving) == "down"


@pytest.mark.parametrize("ahead", [-600, 600])
def test_by_ones_own_clock_no_login_of_one_server_is_good_at_another(
    three: Cluster, ahead: int
) -> None:
    """T80."""
    off, right, _ = three.nodes
    clock = SetClock(off.home)
    clock.set(ahead)
    name = f"own{'a' if ahead > 0 else 'b'}"
    user = right.add_user(name)
    with off.otherwise(launcher=clock.launcher("go-by-ones-own-clock"), fit="/healthz"):
        here, there = Wire(right, user), Wire(off, user)
        assert may_push(here, name)
        assert may_push(there, name)
        ours, theirs = is_accepted(here, at=there), is_accepted(there, at=here)
        assert not (theirs if ahead > 0 else ours), "it is of a time that has not come"


def test_who_hears_of_no_change_accepts_what_was_revoked(three: Cluster) -> None:
    """T80."""
    deaf, other, _ = three.nodes
    user = other.add_user("deaf")
    with deaf.otherwise(launcher=altered("hear-of-no-change")):
        held = Wire(deaf, user)
        assert may_push(held, user.name)
        other.admin("user", "remove", user.name, "--yes")
        hears = Wire(other, user)
        wait_until("the other refuses it", lambda: not is_accepted(held, at=hears))
        time.sleep(6)  # a worker reads every 5 s what has changed
        assert is_accepted(held, at=held)

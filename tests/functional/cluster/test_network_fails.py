"""A server's wire is cut, loudly, silently or one way, loses packets, is narrow, or tears.

Everybody else goes on: nobody's request fails, and no wrong byte is taken for a right one.
"""

import pytest

from tests.functional.cluster.conftest import Measured
from tests.functional.cluster.load import MIB, PAUSE_SECONDS, PUSH_PAUSES, REQUESTS, Load
from tests.functional.cluster.nodes import PORT, Cluster
from tests.functional.cluster.record import (
    CLOCK,
    PULLS,
    RESET_SECONDS_MAX,
    SILENT_SECONDS_MAX,
    below,
)
from tests.functional.programs import wait_until

TORN_AFTER = (2_000, 300_000, 1_000_000, 2_500_000)
TORN_AFTER_LONG = (500, 1_000, 5_000, 20_000, 100_000, 500_000, 700_000, 1_500_000, 5_000_000)


def test_a_server_whose_connections_are_reset(four: Cluster, measured: Measured) -> None:
    victim, *others = four.nodes
    with Load(others, four.account) as load:
        load.lasts()
        with load.fault() as cut:
            victim.machine.refuse()
            load.lasts_long(4)
        victim.machine.heal()
        back = four.noticed(victim, ["up"], since=load.ended)
        load.lasts()
    noticed = four.noticed(victim, ["down"], since=cut)
    four.wait_until_fit()
    lost = load.unreadable(four.nodes)
    measured(load.row("T14 cut off loudly", lost=lost, noticed=noticed, back=back))
    assert load.failures == []
    assert max(noticed) <= RESET_SECONDS_MAX
    assert lost == []


def test_a_server_cut_off_silently(four: Cluster, measured: Measured) -> None:
    *others, victim = four.nodes
    with Load(others, four.account) as load:
        load.lasts()
        with load.fault() as cut:
            victim.machine.cut()
            load.lasts_long(8)
        victim.machine.heal()
        back = four.noticed(victim, ["up"], since=load.ended)
        victim.wait_until_written_to()
        load.lasts(1)
    noticed = four.noticed(victim, ["suspect", "down"], since=cut)
    four.wait_until_fit()
    lost = load.unreadable(four.nodes)
    measured(load.row("T15 cut off silently", lost=lost, noticed=noticed, back=back))
    assert load.failures == []
    assert max(noticed) <= SILENT_SECONDS_MAX
    assert lost == []


def test_a_server_that_hears_and_cannot_answer(four: Cluster, measured: Measured) -> None:
    """What it was sent has arrived: it is used later, and takes no room twice.

    Small chunks, sent without waiting for an acknowledgement, which none will come for.
    """
    *others, victim = four.nodes
    for node in others:
        node.machine.send_ahead()
    often = PAUSE_SECONDS / PUSH_PAUSES
    with Load(others, four.account, pause_seconds=often) as wide:
        wide.lasts(2)  # each connection's window opens
    assert wide.failures == []
    with Load(others, four.account, blob_bytes=100_000, pause_seconds=often) as load:
        load.lasts()
        with load.fault() as muted:
            had = victim.chunks()
            victim.machine.mute()
            load.lasts_long(6)
            heard, tried_to_answer = victim.chunks(), victim.machine.hit()
        victim.machine.heal()
        back = four.noticed(victim, ["up"], since=load.ended)
        load.lasts()
    noticed = four.noticed(victim, ["suspect", "down"], since=muted)
    four.wait_until_fit()
    lost = load.unreadable(four.nodes)
    measured(load.row("T16 hears, cannot answer", lost=lost, noticed=noticed, back=back))
    assert load.failures == []
    assert max(noticed) <= SILENT_SECONDS_MAX
    assert tried_to_answer > 0
    assert heard > had or not REQUESTS  # as much as its window was open for: with luck a chunk
    assert lost == []
    assert victim.strays() == []


@pytest.mark.parametrize("percent", [1, 5] if REQUESTS else [1])
def test_every_server_loses_packets(four: Cluster, percent: int, measured: Measured) -> None:
    with Load(four.nodes, four.account) as load:
        load.lasts()
        with load.fault():
            for node in four.nodes:
                node.machine.lose(percent)
            load.lasts_long(5)
        assert all(node.machine.hit() > 0 for node in four.nodes)
        for node in four.nodes:
            node.machine.heal()
        load.lasts()
    four.wait_until_fit()
    lost = load.unreadable(four.nodes)
    measured(load.row(f"T19 {percent} % of packets lost", lost=lost))
    assert load.broken == []
    assert percent > 1 or load.failures == []
    assert lost == []


def test_a_server_on_a_narrow_wire(four: Cluster, measured: Measured) -> None:
    victim, *others = four.nodes
    with Load(others, four.account) as load:
        load.lasts()
        with load.fault():
            victim.machine.narrow(8)
            load.lasts_long(6)
        victim.machine.heal()
        load.lasts()
    four.wait_until_fit()
    lost = load.unreadable(four.nodes)
    measured(load.row("T21 8 Mbit/s", lost=lost))
    assert load.failures == []
    assert lost == []
    # Its share of a blob alone would take more than a second over that wire.
    assert below(load.of(PULLS, since=load.began + 1, until=load.ended), 50) < 1


def test_connections_that_break_after_so_many_bytes(four: Cluster, measured: Measured) -> None:
    victim, *others = four.nodes
    with Load(others, four.account) as load:
        load.lasts()
        with load.fault():
            for count in TORN_AFTER + (TORN_AFTER_LONG if REQUESTS else ()):
                victim.machine.tear(count)
                load.lasts(1)
                wait_until("a connection is torn", lambda: victim.machine.hit() > 0)
                victim.machine.heal()
                load.lasts(0.5)
        load.lasts()
    four.wait_until_fit()
    lost = load.unreadable(four.nodes)
    measured(load.row("T22 connections torn", lost=lost))
    assert load.failures == []
    assert lost == []
    assert victim.strays() == []


def test_a_server_that_comes_back_elsewhere(four: Cluster, measured: Measured) -> None:
    """At another port: the others find it by what it says of itself, nobody is told to."""
    *others, victim = four.nodes
    with Load(others, four.account, blob_bytes=MIB) as load:
        load.lasts()
        with load.fault() as moved, victim.otherwise(port=PORT + 1):
            four.wait_until_met(victim, since=moved)
            victim.wait_until_written_to()
            load.lasts_long(1)
            assert load.unreadable([victim]) == []
            leaves = CLOCK.now()
        four.wait_until_met(victim, since=leaves)
    four.wait_until_fit()
    lost = load.unreadable(four.nodes)
    measured(load.row("T25 another address", lost=lost))
    assert load.failures == []
    assert lost == []

"""Servers that are killed, hang or are cut off while others are pushed to and pulled from.

Every test ends with the oracle: what was acknowledged is pulled through every server and hashed.
`docs/reliability.md` has what was measured; each run shows its own.
"""

from tests.functional.cluster.conftest import Measured
from tests.functional.cluster.load import CLOCK, Load
from tests.functional.cluster.nodes import Cluster


def test_a_server_killed_while_others_are_used(four: Cluster, measured: Measured) -> None:
    victim, *others = four.nodes
    with Load(others, four.account) as load:
        load.lasts(2)
        killed = CLOCK.now()
        victim.crash()
        load.lasts(4)
    noticed = four.noticed(victim, ["down"], since=killed)
    measured(f"T01 {load.summary()}; noticed after {max(noticed):.3f} s")
    assert load.failures == []
    assert max(noticed) <= 1
    assert load.unreadable(others) == []
    four.mend()
    assert load.unreadable([victim]) == []


def test_a_server_that_hangs_for_ten_seconds(four: Cluster, measured: Measured) -> None:
    victim, *others = four.nodes
    with Load(others, four.account) as load:
        load.lasts(2)
        hung = CLOCK.now()
        victim.pause()
        load.lasts(10)
        resumed = CLOCK.now()
        victim.resume()
        back = four.noticed(victim, ["up"], since=resumed)
        had = victim.chunks()
        load.lasts(2)
    noticed = four.noticed(victim, ["suspect", "down"], since=hung)
    p99 = load.slowest(99, since=hung, until=resumed)
    measured(
        f"T04 {load.summary()}; suspected after {max(noticed):.3f} s, back after {max(back):.3f}"
    )
    measured(f"T04 p99 while it hung {p99:.3f} s")
    assert load.failures == []
    assert max(noticed) <= 3.5
    assert max(back) <= 2
    assert victim.chunks() > had
    assert load.unreadable(four.nodes) == []


def test_a_server_cut_off_silently(four: Cluster, measured: Measured) -> None:
    *others, victim = four.nodes
    with Load(others, four.account) as load:
        load.lasts(2)
        cut = CLOCK.now()
        victim.machine.cut()
        load.lasts(8)
        healed = CLOCK.now()
        victim.machine.heal()
        back = four.noticed(victim, ["up"], since=healed)
        had = victim.chunks()
        load.lasts(2)
    noticed = four.noticed(victim, ["suspect", "down"], since=cut)
    measured(
        f"T15 {load.summary()}; suspected after {max(noticed):.3f} s, back after {max(back):.3f}"
    )
    measured(f"T15 p99 while it was cut off {load.slowest(99, since=cut, until=healed):.3f} s")
    assert load.failures == []
    assert max(noticed) <= 3.5
    assert victim.chunks() > had
    assert load.unreadable(four.nodes) == []

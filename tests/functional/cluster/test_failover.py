"""PostgreSQL fails over: its primary is killed under load, and Patroni makes the standby primary.

Both have all that was acknowledged (Patroni's synchronous mode), and servers have both hosts in
their URL. No pull fails, pushes are refused for the gap alone, and nothing is lost.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.functional.cluster.conftest import Measured
from tests.functional.cluster.load import Load
from tests.functional.cluster.network import Network
from tests.functional.cluster.nodes import Cluster, Node
from tests.functional.cluster.record import CLOCK, PUSHES
from tests.functional.programs import wait_until, workers_of
from tests.functional.wire import Unavailable, Wire
from tests.patroni import TTL_SECONDS, Member, Pair, running_pair

pytestmark = pytest.mark.alone  # a gap is measured; 25 s for the start, 20 s for each way

GAP_SECONDS_MAX = TTL_SECONDS + 9
"""Patroni's own time, its turn, the promotion, and what servers need to find out."""
NOTICED_SECONDS_MAX = 4
RETURN_SECONDS_MAX = 60


@pytest.fixture(scope="module")
def pair(network: Network) -> Iterator[Pair]:
    with running_pair(network.address, network.cidr) as pair:
        yield pair


@pytest.fixture(scope="module")
def two_servers(
    network: Network, pair: Pair, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """Return two servers on it."""
    home, url = tmp_path_factory.mktemp("failover"), pair.url("postgres")
    cluster = Cluster([Node(home / f"s{n}", network.machine(), url) for n in (1, 2)])
    try:
        yield cluster.start()
    finally:
        cluster.crash()


@pytest.fixture
def two(two_servers: Cluster) -> Iterator[Cluster]:
    """Return them whole; afterwards nothing in their logs is an error."""
    two_servers.wait_until_fit()
    yield two_servers
    assert two_servers.complaints() == []


@contextmanager
def gone(how: str, member: Member) -> Iterator[None]:
    """Take a host away, with its Patroni; it is started again at the end.

    One that hangs does not go on: its watchdog resets it. Without one, Patroni 3.0.2 may let it
    take the lead back, and what the other has acknowledged meanwhile is gone.
    """
    member.kill() if how == "killed" else member.pause()
    try:
        yield
    finally:
        member.kill()
        member.start()


@pytest.mark.parametrize("how", ["killed", "hung"])
def test_a_primary_that_goes_fails_no_pull_and_loses_nothing(
    pair: Pair, two: Cluster, how: str, measured: Measured
) -> None:
    """One that hangs takes connections all the same: servers must not wait for it."""
    workers = [workers_of(node.program.pid) for node in two.nodes]
    with Load(two.nodes, two.account) as load:
        load.lasts()
        with gone(how, pair.primary):
            with load.fault() as began:
                back = [_seconds_until_pushed(node, two, since=began) for node in two.nodes]
            load.lasts()
        what = "it is back, as the other's standby"
        wait_until(what, pair.is_whole, seconds=RETURN_SECONDS_MAX, every=0.2)
        load.lasts()
    lost = load.unreadable(two.nodes)
    said = [node.events("database.away", since=began)[0]["at"] - began for node in two.nodes]
    measured(load.row(f"PostgreSQL's primary {how}", lost=lost, noticed=said, back=back))
    assert load.broken == []
    assert [sent for sent in load.failures if sent.kind not in PUSHES] == [], "F = 0"
    pushes = load.of(PUSHES, since=began, until=load.ended)
    assert any(sent.refused for sent in pushes), "there was a gap"
    assert [sent for sent in load.failures if sent.at > load.ended] == [], "and no other"
    assert lost == [], "D = 0"
    assert max(said) <= NOTICED_SECONDS_MAX
    assert max(back) <= GAP_SECONDS_MAX
    assert workers == [workers_of(node.program.pid) for node in two.nodes]


def _seconds_until_pushed(node: Node, cluster: Cluster, *, since: float) -> float:
    wire = Wire(node, cluster.account)

    def pushed() -> bool:
        with suppress(Unavailable):
            wire.push_blob("admin/back", b"back")
            return True
        return False

    wait_until(f"{node.home.name} takes pushes again", pushed, seconds=RETURN_SECONDS_MAX)
    return CLOCK.now() - since

"""Servers without stores before others: each sees but a part of them, or one behind it dies."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import pytest

from tests.functional.cluster.conftest import Clusters, Gateways, Measured
from tests.functional.cluster.database import NetworkPostgres
from tests.functional.cluster.load import MIB, Load
from tests.functional.cluster.nodes import Cluster, Node
from tests.functional.cluster.record import CLOCK
from tests.functional.wire import Unavailable, Wire
from tests.images import noise

QUORUM = 2
UVLOOP_AFTER_AN_END = "the handler is closed"
"""What uvloop says when it still has something to read of a TLS connection that was just ended."""
SEEN_SECONDS = 4
"""Until a gateway has noticed whom it does not reach."""


def test_two_gateways_that_see_different_servers(
    four: Cluster, gateways: Gateways, database_server: NetworkPostgres, measured: Measured
) -> None:
    """The one that reaches a single store acknowledges nothing, the other goes on (T17)."""
    with gateways(four) as lonely, gateways(four) as other:
        hers = Load([lonely], four.account, pullers=0, repository="admin/lonely", blob_bytes=MIB)
        with hers, Load([other], four.account, repository="admin/other") as his:
            his.lasts()
            first, *rest = four.nodes
            with hers.fault(), his.fault():
                lonely.machine.cut(*(node.machine.address for node in rest))
                other.machine.cut(first.machine.address)
                cut = CLOCK.now()  # it takes a moment, and until then pushes are taken
                his.lasts_long(SEEN_SECONDS)
                waited = [_seconds_until_refused(lonely, four) for _ in range(5)]
            lonely.machine.heal()
            other.machine.heal()
            four.wait_until_seen(by=[lonely, other])
            healed = CLOCK.now()
            his.lasts()
        lost = hers.unreadable(four.nodes) + his.unreadable(four.nodes)
    measured(hers.row("T17 gateway that reaches one server", lost=hers.unreadable(four.nodes)))
    measured(his.row("T17 gateway that reaches the others", lost=his.unreadable(four.nodes)))
    assert median(waited) < 1
    pushes = hers.of(frozenset({"push"}), since=cut, until=hers.ended)
    assert [x for x in pushes if not x.failure and x.at + x.seconds < hers.ended] == []
    assert hers.broken == []
    assert [sent for sent in hers.failures if sent.at > healed] == []
    assert his.failures == []
    assert lost == []
    url = four.nodes[0].options.database
    assert _with_too_few_copies(four, database_server, url) == []


@pytest.fixture(scope="module")
def encrypted(clusters: Clusters) -> Iterator[Cluster]:
    cluster = clusters(3, workers=2, tls=True)
    yield cluster
    cluster.crash()


@pytest.mark.parametrize("how", ["killed", "hung"])
def test_with_tls_two_workers_and_a_gateway_a_server_goes(
    encrypted: Cluster, gateways: Gateways, how: str, measured: Measured
) -> None:
    """Everything between clients and servers is encrypted, and each server is two processes."""
    encrypted.mend()
    victim, *others = encrypted.nodes
    with gateways(encrypted) as gateway:
        encrypted.wait_until_seen(by=[gateway])
        with Load([gateway, *others], encrypted.account) as load:
            load.lasts()
            with load.fault() as gone:
                if how == "killed":
                    victim.crash()
                else:
                    victim.pause()
                load.lasts_long(5)
            noticed = encrypted.noticed(victim, ["suspect", "down"], since=gone)
            encrypted.mend()
            encrypted.wait_until_seen(by=[gateway])
            load.lasts()
        lost = load.unreadable([gateway, *encrypted.nodes])
    measured(load.row(f"TLS, 2 workers, gateway: {how}", lost=lost, noticed=noticed))
    assert load.failures == []
    assert lost == []
    assert [said for said in encrypted.complaints() if UVLOOP_AFTER_AN_END not in said] == []


def _seconds_until_refused(node: Node, cluster: Cluster) -> float:
    wire, begun = Wire(node, cluster.account), CLOCK.monotonic()
    with pytest.raises(Unavailable):
        wire.push_blob("admin/lonely", noise(300_002))
    return CLOCK.monotonic() - begun


def _with_too_few_copies(
    cluster: Cluster, database_server: NetworkPostgres, database: str
) -> list[str]:
    """Return the chunks of acknowledged blobs that lie on fewer servers than the write quorum."""
    rows = database_server.ask(database, "SELECT DISTINCT encode(chunk, 'hex') FROM blob_chunks")
    with ThreadPoolExecutor(len(cluster.nodes)) as looking:
        held = list(looking.map(lambda node: node.chunk_names(), cluster.nodes))
    return [name for (name,) in rows if sum(name in names for names in held) < QUORUM]

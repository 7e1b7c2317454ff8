"""PostgreSQL is killed, hangs or is cut off: what is known is pulled on, pushes are refused.

When it is back everything goes on by itself: no server is restarted.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.functional.cluster.conftest import Measured
from tests.functional.cluster.database import PORT, NetworkPostgres
from tests.functional.cluster.load import Load
from tests.functional.cluster.nodes import Cluster, Node
from tests.functional.cluster.record import CLOCK, PUSHES, below
from tests.functional.docker import Docker
from tests.functional.programs import wait_until, workers_of
from tests.functional.wire import Unavailable, Wire
from tests.images import Image

NOTICED_SECONDS_MAX = 4
"""2 s once it is asked; but all threads of the load may wait for another server just then."""
BACK_SECONDS_MAX = 10
ASKED = frozenset({"pull", "manifest pull"})
"""Of images that every server was asked for before; of others it knows nothing."""


@contextmanager
def outage(how: str, database: NetworkPostgres, cluster: Cluster) -> Iterator[None]:
    """Take the database away for the time of the block."""
    if how == "killed":
        database.crash()
    elif how == "hung":
        database.pause()
    else:
        for node in cluster.nodes:
            node.machine.cut_port(PORT)
    try:
        yield
    finally:
        for node in cluster.nodes:
            node.machine.heal()
        database.resume()
        if how == "killed":
            database.start()


@pytest.mark.parametrize("how", ["killed", "hung", "cut off"])
def test_what_is_known_is_pulled_on_and_pushes_are_refused(
    three: Cluster, database_server: NetworkPostgres, how: str, measured: Measured
) -> None:
    workers = [workers_of(node.program.pid) for node in three.nodes]
    with Load(three.nodes, three.account, known=True) as load:
        load.lasts()
        with load.fault() as away, outage(how, database_server, three):
            load.lasts_long(7, or_seconds=30)
        back = [_seconds_until_pushed(node, three, since=load.ended) for node in three.nodes]
        healed = CLOCK.now()
        load.lasts()
    lost = load.unreadable(three.nodes)
    said = [node.events("database.away", since=away)[0]["at"] - away for node in three.nodes]
    measured(load.row(f"T57 database {how}", lost=lost, noticed=said, back=back))
    assert load.broken == []
    assert [sent for sent in load.of(ASKED) if sent.failure] == []
    assert max(said) <= NOTICED_SECONDS_MAX
    pushes = load.of(PUSHES, since=away + NOTICED_SECONDS_MAX, until=load.ended - 1)
    assert pushes != []
    assert all(sent.refused for sent in pushes)
    assert below(pushes, 90) < 1
    assert max(back) <= BACK_SECONDS_MAX
    assert [sent for sent in load.failures if sent.at > healed] == []
    assert lost == []
    assert workers == [workers_of(node.program.pid) for node in three.nodes]


def test_docker_pulls_what_is_known_without_the_database(
    three: Cluster,
    database_server: NetworkPostgres,
    plain_docker: Docker,
    busybox: Image,
    tmp_path: Path,
) -> None:
    first, *_ = three.nodes
    name = f"{first.address}/admin/away:1"
    plain_docker.load(busybox, name, tmp_path / "layout")
    plain_docker.login(first.address, first.admin_account)
    plain_docker("push", name)
    for _ in range(2):
        plain_docker.forget_images()
        plain_docker("pull", name)
    plain_docker.forget_images()
    with outage("hung", database_server, three):
        wait_until("it is noticed", lambda: not first.is_ready())
        plain_docker("pull", name)
    assert plain_docker.run(name) == "hello from busybox\n"


def _seconds_until_pushed(node: Node, cluster: Cluster, *, since: float) -> float:
    wire = Wire(node, cluster.account)

    def pushed() -> bool:
        with suppress(Unavailable):
            wire.push_blob("admin/back", b"back")
            return True
        return False

    wait_until(f"{node.home.name} takes pushes again", pushed, seconds=BACK_SECONDS_MAX)
    return CLOCK.now() - since

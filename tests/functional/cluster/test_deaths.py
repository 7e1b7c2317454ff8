"""A worker that dies at every step of a push, as who takes it and as who keeps its chunks.

What was acknowledged is there; what was not is whole or absent; and the same push again, through
another server, succeeds (T08, T09, T10).
"""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.crash.operations import DEATHS
from tests.functional.cluster.altered import LABELS, ORDER, altered
from tests.functional.cluster.conftest import Measured
from tests.functional.cluster.database import NetworkPostgres
from tests.functional.cluster.load import EMPTY, MANIFEST, MIB, REQUESTS, manifest_of
from tests.functional.cluster.nodes import Cluster, Node
from tests.functional.cluster.record import CLOCK
from tests.functional.programs import wait_until
from tests.functional.wire import Wire, written
from tests.images import noise, sha256_of

pytestmark = pytest.mark.early

OFTEN = (
    "disk.write",
    "disk.fsync",
    "disk.rename",
    "uploads.advance after",
    "blobs.commit",
    "sql INSERT blobs",
    "sql INSERT repository_blobs",
    "manifests.put",
    "sql INSERT tags",
)
"""Steps that CI dies at, by their beginnings; the long form dies at each."""
STEP_SECONDS_MAX = 3


@dataclass
class Image:
    """An image that nobody pushed before, and what of it was acknowledged."""

    number: int
    repository: str
    has_blob: bool = False
    has_tag: bool = False

    def __post_init__(self) -> None:
        self.layer = self.number.to_bytes(4) + noise(3 * MIB // 2)
        self.manifest = manifest_of(sha256_of(self.layer), len(self.layer), str(self.number))
        self.tag = f"t{self.number}"

    def push(self, wire: Wire) -> None:
        """Push it in the order that clients use."""
        place = wire.begin_upload(self.repository)
        place = wire.request("PATCH", place, self.layer[:MIB]).expect(202).location
        wire.finish_upload(place, sha256_of(self.layer), self.layer[MIB:]).expect(201)
        self.has_blob = True
        wire.push_manifest(self.repository, self.tag, self.manifest)
        self.has_tag = True

    def check(self, wire: Wire) -> None:
        """Fail unless what was acknowledged is there, and what was not is whole or absent."""
        path, accept = f"/v2/{self.repository}/manifests/{self.tag}", {"Accept": MANIFEST}
        blob = wire.request("GET", f"/v2/{self.repository}/blobs/{sha256_of(self.layer)}")
        tag = wire.request("GET", path, None, accept)
        if self.has_blob or blob.status != 404:
            assert blob.expect(200).body == self.layer
        if self.has_tag or tag.status != 404:
            assert tag.expect(200).body == written(self.manifest)


@dataclass
class Deathbed:
    """A server that dies where it is told to, and the others."""

    victim: Node
    directory: Path
    others: list[Node]

    def labels(self, push: Image, wire: Wire) -> list[str]:
        """Return the steps of a push."""
        (self.directory / LABELS).touch()
        push.push(wire)
        found = (self.directory / LABELS).read_text().splitlines()
        (self.directory / LABELS).unlink()
        return found

    def dies(self, label: str, number: int, push: Callable[[], None]) -> bool:
        """Let its worker die at this step of a push; return whether there was such a step.

        Returns when another worker serves.
        """
        order = self.directory / ORDER
        order.with_suffix(".new").write_text(f"{number} {label}")
        order.with_suffix(".new").rename(order)
        with suppress(*DEATHS):
            push()
        # Of three copies two are enough for an answer: the third may be on its way.
        until = CLOCK.monotonic() + STEP_SECONDS_MAX
        while order.exists() and CLOCK.monotonic() < until:
            time.sleep(0.02)
        if order.exists():
            order.unlink()
            return False
        wait_until("another worker serves", self.victim.is_ready, seconds=20)
        return True


@pytest.fixture(scope="module")
def deathbed(
    three_servers: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deathbed]:
    three_servers.mend()
    victim, *others = three_servers.nodes
    directory = tmp_path_factory.mktemp("mortal")
    with victim.otherwise(launcher=altered(f"mortal={directory}")):
        three_servers.wait_until_whole()
        yield Deathbed(victim, directory, others)
    three_servers.wait_until_whole()


def _deaths(labels: list[str]) -> list[tuple[str, int]]:
    """Return where to die: at each kind of step once, in the long form at each."""
    every = [(label, labels[: n + 1].count(label)) for n, label in enumerate(labels)]
    return every if REQUESTS else [x for x in every if x[1] == 1 and x[0].startswith(OFTEN)]


def test_a_server_that_dies_at_every_step_of_a_push(
    deathbed: Deathbed,
    three_servers: Cluster,
    database_server: NetworkPostgres,
    measured: Measured,
) -> None:
    repository = "admin/deaths"
    account = three_servers.account
    here, there, third = (Wire(node, account) for node in three_servers.nodes)
    here.push_blob(repository, EMPTY)
    deaths = _deaths(deathbed.labels(Image(0, repository), here))
    died = 0
    for number, (label, nth) in enumerate(deaths, 1):
        image = Image(number, repository)
        if deathbed.dies(label, nth, partial(image.push, here)):
            assert not image.has_tag, f"acknowledged after its death at {label}"
            died += 1
        image.check(there)
        image.push(there)
        image.check(third)
        image.check(here)
    counts = database_server.ask(
        three_servers.nodes[0].options.database,
        "SELECT count(*), count(DISTINCT digest) FROM blobs",
    )
    assert counts[0][0] == counts[0][1]
    assert [node.strays() for node in three_servers.nodes] == [[], [], []]
    measured(f"T10 died at {died} of {len(deaths)} steps of taking a push, each pushed again")
    assert died >= len(deaths) * 3 // 4


def test_a_server_that_dies_at_every_step_of_keeping_a_chunk(
    deathbed: Deathbed, three_servers: Cluster, measured: Measured
) -> None:
    repository = "admin/kept"
    account = three_servers.account
    here, there, third = (Wire(node, account) for node in three_servers.nodes)
    there.push_blob(repository, EMPTY)
    labels = deathbed.labels(Image(1000, repository), there)
    deaths = _deaths([label for label in labels if label.startswith("disk.")])
    died = 0
    for number, (label, nth) in enumerate(deaths, 1001):
        image = Image(number, repository)
        died += deathbed.dies(label, nth, partial(image.push, there))
        assert image.has_tag, f"refused because another server died at {label}"
        image.check(third)
        image.check(here)
    assert [node.strays() for node in three_servers.nodes] == [[], [], []]
    measured(f"T10 died at {died} of {len(deaths)} steps of keeping a chunk, no push noticed")
    assert died >= len(deaths) // 2

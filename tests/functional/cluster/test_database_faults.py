"""The database's connections are cut in the middle of what they do, or everybody wants one row.

What one gets is what was, or what is to be: a tag is never half moved, a blob never there twice.
"""

import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

import pytest

from tests.functional.cluster.conftest import Measured
from tests.functional.cluster.database import PORT, NetworkPostgres
from tests.functional.cluster.history import Request, contradictions
from tests.functional.cluster.load import MANIFEST, REQUESTS, Load, manifest_of
from tests.functional.cluster.network import Network
from tests.functional.cluster.nodes import Cluster
from tests.functional.cluster.record import CLOCK
from tests.functional.cluster.wire_to_database import Breaks, WireToDatabase
from tests.functional.programs import wait_until
from tests.functional.wire import Unavailable, Wire, written
from tests.images import noise, sha256_of
from tests.postgres import CUT

EMPTY = b"{}"
AT_ONCE = 100
CUTS_EVERY_SECONDS = 0.05


@dataclass
class Tag:
    """One tag that many write and read at once, and what each of them saw."""

    repository: str
    name: str
    writes: list[Request] = field(default_factory=list)
    reads: list[Request] = field(default_factory=list)
    refused: int = 0

    def write(self, wire: Wire, mark: str) -> None:
        """Move it to a manifest that nobody else writes."""
        manifest = manifest_of(sha256_of(EMPTY), len(EMPTY), mark)
        begun = CLOCK.monotonic()
        try:
            digest = wire.push_manifest(self.repository, self.name, manifest)
        except Unavailable:
            # Perhaps it took place all the same, and perhaps later than now.
            self.refused += 1
            self.writes.append(Request(sha256_of(written(manifest)), begun))
        else:
            self.writes.append(Request(digest, begun, CLOCK.monotonic()))

    def read(self, wire: Wire) -> None:
        """Look where it points."""
        path, accept = f"/v2/{self.repository}/manifests/{self.name}", {"Accept": MANIFEST}
        nothing_yet = not self.writes
        begun = CLOCK.monotonic()
        answer = wire.request("GET", path, None, accept)
        ended = CLOCK.monotonic()
        if answer.status == 404 and nothing_yet:
            return
        with suppress(Unavailable):
            digest = sha256_of(answer.expect(200).body)
            assert answer.headers["Docker-Content-Digest"] == digest
            self.reads.append(Request(digest, begun, ended))


@contextmanager
def beside(work: Callable[[], None], *, every: float = 0.0) -> Iterator[None]:
    """Do something again and again for the time of the block."""
    ended = threading.Event()

    def again() -> None:
        while not ended.wait(every):
            work()

    with ThreadPoolExecutor(1) as doing:
        done = doing.submit(again)
        try:
            yield
        finally:
            ended.set()
            done.result(30)


def test_connections_cut_in_mid_transaction(
    three: Cluster, database_server: NetworkPostgres, measured: Measured
) -> None:
    """While images are pushed everywhere and one tag is moved: it is old or new (T58)."""
    url = three.nodes[0].options.database
    wires = [Wire(node, three.account) for node in three.nodes]
    wires[0].push_blob("admin/cut", EMPTY)
    tag = Tag("admin/cut", "moving")
    tag.write(wires[0], "first")
    with Load(three.nodes, three.account, pushers=2, pullers=1, blob_bytes=100_000) as load:
        load.lasts(1)
        with (
            load.fault(),
            beside(lambda: database_server.execute(url, CUT), every=CUTS_EVERY_SECONDS),
            beside(lambda: tag.read(wires[1])),
            beside(lambda: tag.read(wires[2])),
        ):
            until = CLOCK.monotonic() + 4
            number = 0
            while CLOCK.monotonic() < until or len(load.sent) < REQUESTS:
                number += 1
                tag.write(wires[number % 3], f"{number}")
        healed = CLOCK.monotonic()
        for wire in wires:
            tag.write(wire, f"after {number} through {wires.index(wire)}")
            for other in wires:
                tag.read(other)
        load.lasts(1)
    lost = load.unreadable(three.nodes)
    measured(load.row("T58 transactions cut", lost=lost))
    measured(f"T58 {len(tag.writes)} moves of a tag, {tag.refused} refused, {len(tag.reads)} reads")
    assert load.broken == []
    assert lost == []
    # A server whose connections were cut twice in a row answers from memory, as without a database:
    # while they are cut, a read is of what was once written; afterwards, of what is there.
    written_before = {(write.value, write.begun) for write in tag.writes}
    for read in tag.reads:
        assert any(v == read.value and begun < read.ended for v, begun in written_before)
    whole_again = [read for read in tag.reads if read.begun > healed]
    assert whole_again != []
    assert contradictions(tag.writes, whole_again) == []


@pytest.mark.parametrize("breaks", [Breaks.BEFORE, Breaks.AFTER])
def test_a_commit_whose_answer_is_lost_can_be_asked_again(
    three: Cluster, database_server: NetworkPostgres, network: Network, breaks: Breaks
) -> None:
    """Nobody knows whether it took place; the same request again makes it so, once (T59)."""
    first, second, _ = three.nodes
    url = first.options.database
    repository = f"admin/unknown-{breaks.name.lower()}"
    whole, parts = secrets.token_bytes(300_000), secrets.token_bytes(400_000)
    manifest = manifest_of(sha256_of(EMPTY), len(EMPTY), breaks.name)
    rows = partial(_rows, database_server, url)
    took_place = 1 if breaks is Breaks.AFTER else 0
    with WireToDatabase(network.address, PORT) as wire_to_database:
        through = url.replace(f":{PORT}/", f":{wire_to_database.port}/")
        with first.otherwise(database=through):
            three.wait_until_whole()
            wire = Wire(first, three.account)
            wire.push_blob(repository, EMPTY)
            place = wire.begin_upload(repository)
            asks: list[Callable[[], object]] = [
                lambda: wire.put_whole(repository, whole).expect(201),
                lambda: wire.finish_upload(place, sha256_of(parts), parts).expect(201),
                lambda: wire.push_manifest(repository, "1", manifest),
            ]
            for number, ask in enumerate(asks):
                wire_to_database.breaks, broken = breaks, wire_to_database.broken
                with pytest.raises(Unavailable):
                    ask()
                assert wire_to_database.broken > broken
                wire_to_database.breaks = Breaks.NEVER
                if number == 0:
                    wait_until("it took place, or not", lambda: rows(whole) == took_place)
                ask()
    elsewhere = Wire(second, three.account)
    for blob in (whole, parts):
        assert elsewhere.pull_blob(repository, sha256_of(blob)) == blob
        assert rows(blob) == 1
    accept = {"Accept": MANIFEST}
    answer = elsewhere.request("GET", f"/v2/{repository}/manifests/1", None, accept).expect(200)
    assert answer.headers["Docker-Content-Digest"] == sha256_of(written(manifest))


def test_a_hundred_at_once_move_one_tag_and_push_one_blob(
    four: Cluster, database_server: NetworkPostgres, measured: Measured
) -> None:
    wires = [Wire(four.nodes[n % 4], four.account) for n in range(AT_ONCE)]
    blob = noise(300_001)
    wires[0].push_blob("admin/crowd", EMPTY)
    tag = Tag("admin/crowd", "wanted")
    readers = [Wire(node, four.account) for node in four.nodes]
    begun = CLOCK.monotonic()
    with beside(lambda: tag.read(readers[1])), beside(lambda: tag.read(readers[2])):
        with ThreadPoolExecutor(AT_ONCE) as crowd:
            list(crowd.map(lambda n: tag.write(wires[n], str(n)), range(AT_ONCE)))
        with ThreadPoolExecutor(AT_ONCE) as crowd:
            pushed = list(crowd.map(lambda w: w.push_blob("admin/crowd", blob), wires))
    seconds = CLOCK.monotonic() - begun
    measured(
        f"T60 {AT_ONCE} writers of a tag and of a blob, {len(tag.reads)} reads: {seconds:.1f} s"
    )
    for reader in readers:
        tag.read(reader)
        assert reader.pull_blob("admin/crowd", sha256_of(blob)) == blob
    assert len({read.value for read in tag.reads[-4:]}) == 1
    assert tag.refused == 0
    assert contradictions(tag.writes, tag.reads) == []
    assert pushed == [sha256_of(blob)] * AT_ONCE
    assert _rows(database_server, four.nodes[0].options.database, blob) == 1


def _rows(database_server: NetworkPostgres, database: str, blob: bytes) -> int:
    """Return how many rows a blob has."""
    query = f"SELECT count(*) FROM blobs WHERE digest = '{sha256_of(blob)}'"  # noqa: S608
    ((count,),) = database_server.ask(database, query)
    assert isinstance(count, int)
    return count

"""One copy of each chunk, and its server hangs a while: whoever reads waits for it (faults.md 6).

With more copies nobody would notice; with none else to ask, a 503 would be too early.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from tests import images
from tests.functional.cluster.conftest import Clusters
from tests.functional.cluster.nodes import Cluster
from tests.functional.programs import wait_until
from tests.functional.wire import Wire

BLOBS = 12


@pytest.fixture(scope="module")
def cluster(clusters: Clusters) -> Iterator[Cluster]:
    cluster = clusters(2, copies=1)
    yield cluster
    cluster.crash()


@pytest.mark.parametrize("held", ["up", "down"])
def test_a_read_waits_for_the_last_copy_while_its_server_hangs(cluster: Cluster, held: str) -> None:
    cluster.wait_until_whole()
    hung, asked = cluster.nodes
    try:
        pushing, reading = Wire(asked, cluster.account), Wire(asked, cluster.account)
        blobs = [images.noise(100_000) + bytes([number]) for number in range(BLOBS)]
        digests = [pushing.push_blob("admin/once", blob) for blob in blobs]
        assert hung.chunks() > 0, "some have their only copy there"
        pull = partial(reading.pull_blob, "admin/once")
        pull(digests[0])  # a token
        with ThreadPoolExecutor(BLOBS) as pulling:
            hung.pause()
            if held == "down":
                wait_until("it is down", lambda: asked.sees(hung) == "down", seconds=15)
            begun = time.monotonic()
            pulls = [pulling.submit(pull, digest) for digest in digests]
            time.sleep(3)
            hung.resume()
            assert [each.result(timeout=30) for each in pulls] == blobs
        assert time.monotonic() - begun < 15
        assert cluster.complaints() == []
    finally:
        hung.resume()

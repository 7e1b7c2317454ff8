"""The cluster's page of a real server: another one is killed, and it says so; then all is whole."""

import http.client
import json
import time
from collections.abc import Generator
from contextlib import closing
from urllib.parse import urlencode

import pytest

from tests.functional.cluster.conftest import Clusters, Measured
from tests.functional.cluster.load import EMPTY, MIB, manifest_of
from tests.functional.cluster.nodes import Node
from tests.functional.server import ADMIN_PASSWORD
from tests.functional.wire import Wire
from tests.images import noise, sha256_of

SHOWN_SECONDS_MAX = 3.0
WHOLE_SECONDS_MAX = 120.0
FORM = "application/x-www-form-urlencoded"


class Looking:
    """Somebody who looks at the cluster's page of a server, live."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._cookie = ""
        self._parts = self._nothing()

    def _nothing(self) -> Generator[tuple[str, str], None, None]:
        yield from ()

    def sign_in(self) -> "Looking":
        """Sign in as the administrator."""
        connection = self._node.connect()
        origin = f"{self._node.scheme}://{self._node.address}"
        body = urlencode({"name": "admin", "password": ADMIN_PASSWORD})
        headers = {"Content-Type": FORM, "Origin": origin}
        connection.request("POST", "/-/sign-in", body, headers)
        answer = connection.getresponse()
        assert answer.status == http.client.SEE_OTHER, answer.read()
        self._cookie = (answer.getheader("Set-Cookie") or "").partition(";")[0]
        connection.close()
        return self

    def until(self, text: str, *, seconds: float) -> str:
        """Read on until the sentence on top says so; return it."""
        deadline = time.monotonic() + seconds
        said = ""
        while time.monotonic() < deadline:
            for element, html in self._parts:
                if element == "cluster-verdict":
                    said = html
                    if text in said:
                        return said
                if time.monotonic() > deadline:
                    break
            else:  # a connection ends after a minute
                self._parts = self._read()
        raise AssertionError(f"it never said {text!r}, but: {said}")

    def _read(self) -> Generator[tuple[str, str], None, None]:
        with closing(self._node.connect(seconds=20)) as connection:
            connection.request("GET", "/-/cluster/live", headers={"Cookie": self._cookie})
            with connection.getresponse() as answer:
                assert answer.status == http.client.OK, answer.read()
                for line in answer:
                    is_part = line.startswith(b"data: ")
                    part = json.loads(line.removeprefix(b"data: ")) if is_part else {}
                    yield part.get("id", ""), part.get("html", "")

    def close(self) -> None:
        """Look no more."""
        self._parts.close()


@pytest.mark.alone
def test_a_kill_is_shown_within_seconds_pulls_go_on_and_then_all_is_whole(
    clusters: Clusters, measured: Measured
) -> None:
    cluster = clusters(3, copies=2, tls=True)
    first, second, third = cluster.nodes
    layer = noise(16 * MIB)
    wire = Wire(first, cluster.account)
    wire.push_blob("admin/app", EMPTY)
    digest = wire.push_blob("admin/app", layer)
    wire.push_manifest("admin/app", "1", manifest_of(sha256_of(layer), len(layer), "1"))
    page = Looking(second).sign_in()
    page.until("Everything is whole", seconds=WHOLE_SECONDS_MAX)
    third.crash()
    killed = time.monotonic()
    told = page.until("does not answer", seconds=SHOWN_SECONDS_MAX)
    seconds = time.monotonic() - killed
    assert "Pulls go on: each partition has a copy that can be read." in told
    assert Wire(second, cluster.account).pull_blob("admin/app", digest) == layer
    third.start()
    begun = time.monotonic()
    told = page.until("Whole again since", seconds=WHOLE_SECONDS_MAX)
    assert "Everything is whole" in told
    again = time.monotonic() - begun
    measured(f"a kill on another server's page: {seconds:.2f} s; whole again: {again:.1f} s")
    page.close()
    assert seconds < SHOWN_SECONDS_MAX
    assert cluster.complaints() == []

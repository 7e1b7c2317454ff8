"""The log over servers: what one takes, followers of another see at once; deaths lose nothing."""

import http.client
import json
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, Self

from tests.functional.cluster.conftest import Measured
from tests.functional.cluster.nodes import Cluster, Node
from tests.functional.programs import wait_until
from tests.functional.wire import Wire
from tests.oci.documents import OCI_CONFIG, descriptor, image

CONFIG: Final = b"{}"
PUSHES: Final = 60
PUSHES_A_SECOND: Final = 20
SEEN_SECONDS_MAX: Final = 2.0
"""However busy the machine is; docs/events.md has what was measured."""


class Follower:
    """Follows the log at one server, in a thread, until the block ends."""

    def __init__(self, node: Node, query: str) -> None:
        self._node = node
        self._query = query
        self.events: list[dict[str, Any]] = []
        self.at: dict[str, float] = {}
        """When each event of a tag was seen."""
        self._connection = node.connect(seconds=60)
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        account = self._node.admin_account
        secret = b64encode(f"{account.name}:{account.password}".encode()).decode()
        self._connection.request(
            "GET", f"/api/v1/events?{self._query}", headers={"Authorization": f"Basic {secret}"}
        )
        self._response = self._connection.getresponse()
        assert self._response.status == http.client.OK
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        sock = self._connection.sock
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(2)
        self._connection.close()
        self._thread.join(5)

    def _read(self) -> None:
        with suppress(OSError, ValueError, http.client.HTTPException, AttributeError):
            while line := self._response.readline():
                event = json.loads(line)
                if "sequence" in event:
                    self.at[event["reference"]] = time.monotonic()
                    self.events.append(event)


def pushing(node: Node, cluster: Cluster, repository: str) -> tuple[Wire, dict[str, Any]]:
    """Return what pushes tags of one tiny image."""
    wire = Wire(node, cluster.account)
    wire.push_blob(repository, CONFIG)
    return wire, image(config=descriptor(CONFIG, OCI_CONFIG))


def log_of(node: Node, account: Any, repository: str) -> Iterator[dict[str, Any]]:
    """Yield what the log has of the pushes to a repository, in its order."""
    after, more = "oldest", True
    while more:
        path = f"/api/v1/events?n=1000&after={after}&kind=image.pushed&repository={repository}"
        page = Wire(node, account).with_basic("GET", path).expect(200).json()
        yield from page["events"]
        after, more = page["next"], page["more"]


def test_a_push_to_one_server_is_seen_at_another_at_once(
    three: Cluster, measured: Measured
) -> None:
    pushed_to, followed, _ = three.nodes
    wire, manifest = pushing(pushed_to, three, "admin/seen")
    acknowledged: dict[str, float] = {}
    with Follower(followed, "follow=1&kind=image.pushed&repository=admin/seen") as follower:
        time.sleep(1)  # until the other servers know that somebody follows here
        begun = time.monotonic()
        for number in range(PUSHES):
            wire.push_manifest("admin/seen", f"t{number}", manifest)
            acknowledged[f"t{number}"] = time.monotonic()
            time.sleep(max(0.0, begun + (number + 1) / PUSHES_A_SECOND - time.monotonic()))
        wait_until("all are seen", lambda: len(follower.at) == PUSHES, seconds=10)
    waited = sorted(follower.at[tag] - at for tag, at in acknowledged.items())
    measured(
        f"| events: seen at another server, of {PUSHES} pushes | median "
        f"{waited[PUSHES // 2] * 1000:.0f} ms | longest {waited[-1] * 1000:.0f} ms |"
    )
    assert [each["reference"] for each in follower.events] == [f"t{n}" for n in range(PUSHES)]
    assert waited[-1] < SEEN_SECONDS_MAX


def test_killed_servers_lose_no_event(three: Cluster) -> None:
    """Every acknowledged push is in the log exactly once, and was followed in its order."""
    victim, followed, other = three.nodes
    acknowledged: set[str] = set()

    def push(node: Node, word: str) -> None:
        wire, manifest = pushing(node, three, "admin/killed")
        for number in range(80):
            with suppress(OSError, http.client.HTTPException, AssertionError):
                wire.push_manifest("admin/killed", f"{word}{number}", manifest)
                acknowledged.add(f"{word}{number}")

    pushing(victim, three, "admin/killed")
    with Follower(followed, "follow=1&kind=image.pushed&repository=admin/killed") as follower:
        with ThreadPoolExecutor(2) as pushers:
            running = [pushers.submit(push, victim, "a"), pushers.submit(push, other, "b")]
            wait_until("some are pushed", lambda: len(acknowledged) > 20, seconds=30)
            victim.crash()
            for each in running:
                each.result()
        three.mend()
        log = [*log_of(followed, victim.admin_account, "admin/killed")]
        tags = [each["reference"] for each in log]
        wait_until("all are followed", lambda: len(follower.events) >= len(log), seconds=10)
        assert {*tags} >= acknowledged
        assert len({*tags}) == len(tags)
        assert follower.events == log
    assert any(tag.startswith("a") for tag in acknowledged)
    assert {f"b{number}" for number in range(80)} <= acknowledged
    for word in "ab":
        mine = [int(tag[1:]) for tag in tags if tag.startswith(word)]
        assert mine == sorted(mine)

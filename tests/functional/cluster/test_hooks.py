"""Webhooks of a cluster: one server sends; another one goes on when it is killed."""

import asyncio
import json
from typing import Any, Final

import pytest

from tests.functional.cluster.network import Network
from tests.functional.cluster.nodes import Cluster, Node
from tests.functional.programs import wait_until
from tests.functional.receiver import Receiver, check, receiving
from tests.functional.wire import Wire
from tests.oci.documents import OCI_CONFIG, descriptor, image
from treescale.metadata.database import opened

CONFIG: Final = b"{}"
REPOSITORIES: Final = ("admin/hooked-a", "admin/hooked-b")
TOLD_SECONDS_MAX: Final = 60.0
"""The lease of one that was killed runs for half a minute."""


async def _sender(database: str) -> str:
    async with opened(database) as found:
        (lease,) = [one for one in await found.leases.list() if one.name == "hooks.deliver"]
        return lease.holder.partition("/")[0]


def sender(cluster: Cluster) -> Node:
    """Return the server that sends."""
    server_id = asyncio.run(_sender(cluster.nodes[0].options.database))
    return next(node for node in cluster.nodes if node.server_id == server_id)


def hook_of(node: Node, heard: Receiver, origin: str) -> dict[str, Any]:
    node._administer("cluster", "set", f"hook-networks={origin.removeprefix('http://')}")
    words = ("hook", "add", "admin/hooked-*", f"{origin}/in", "--json")
    made: dict[str, Any] = json.loads(node._administer(*words))
    heard.secret = made["secret"]
    return made


def test_another_server_goes_on_when_the_one_that_sends_is_killed(
    three: Cluster, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pushes to all servers are told at least once, in order, duplicates with the same id."""
    monkeypatch.setenv("TREESCALE_PUBLIC_URL", "https://registry.example.com")
    pushed: list[tuple[str, str]] = []

    def push(node: Node, word: str) -> None:
        wire = Wire(node, three.account)
        for number in range(3):
            for repository in REPOSITORIES:
                wire.push_blob(repository, CONFIG)
                wire.push_manifest(
                    repository, f"{word}{number}", image(config=descriptor(CONFIG, OCI_CONFIG))
                )
                pushed.append((repository, f"{word}{number}"))

    with receiving(network.address) as (heard, origin):
        hook = hook_of(three.nodes[0], heard, origin)

        def all_told() -> bool:
            return {(one.repository, one.tag) for one in heard.taken} >= {*pushed}

        for number, node in enumerate(three.nodes):
            push(node, f"whole{number}-")
        wait_until("what was pushed is told", all_told)
        heard.seconds = 1.0
        victim = sender(three)
        others = three.others(victim)
        push(others[0], "before")
        wait_until("something is on its way", lambda: heard.asked > len(heard.taken))
        victim.crash()
        heard.seconds = 0.0
        push(others[1], "after")
        wait_until("everything is told", all_told, seconds=TOLD_SECONDS_MAX)
        check(heard, pushed)
        assert sender(three) is not victim
        three.mend()
        three.nodes[0]._administer("hook", "remove", hook["id"], "--yes")

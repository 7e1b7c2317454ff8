"""Webhooks of a real server to a real receiver that is down, slow and refuses in turns."""

import json
from collections.abc import Iterator
from typing import Final

import pytest

from tests.functional.conftest import Serve
from tests.functional.programs import wait_until
from tests.functional.receiver import Receiver, check, receiving
from tests.functional.server import Options, Server
from tests.functional.wire import Wire
from treescale.server.network.machine import address_for_others

OCI: Final = "application/vnd.oci.image.manifest.v1+json"
CONFIG: Final = b"{}"
HIDDEN: Final = "hidden-in-the-query"
TOKEN: Final = "hidden-in-a-header"
REPOSITORIES: Final = ("alice/app", "alice/tools", "alice/web")
DELIVERED_SECONDS_MAX: Final = 90.0
"""After a server was killed its lease runs for half a minute, and the pauses of a delivery."""


@pytest.fixture
def receiver() -> Iterator[tuple[Receiver, str]]:
    """Return what receives, and its URL."""
    host = address_for_others()
    assert host is not None, "the machine needs a network"
    with receiving(host) as (heard, origin):
        yield heard, f"{origin}/in?token={HIDDEN}"


def push(wire: Wire, repository: str, tag: str) -> None:
    """Push an image of its own that has no layers."""
    config = {"mediaType": "application/x", "size": len(CONFIG)}
    document = {
        "schemaVersion": 2,
        "mediaType": OCI,
        "config": config | {"digest": wire.push_blob(repository, CONFIG)},
        "layers": [],
        "annotations": {"tag": tag},
    }
    wire.push_manifest(repository, tag, document)


def hook_of(server: Server, heard: Receiver, url: str) -> str:
    """Let the receiver be told of all that alice pushes."""
    code, said = server.outcome("hook", "add", "alice", url)
    assert code == 1
    assert "private network" in said
    place = url.partition("/in")[0].removeprefix("http://")
    server.admin("cluster", "set", f"hook-networks={place}")
    words = ("hook", "add", "alice", url, "--header", f"X-Token: {TOKEN}", "--json")
    made = json.loads(server.admin(*words))
    heard.secret = made["secret"]
    return str(made["id"])


def test_every_push_is_told_whatever_is_killed_and_whoever_is_down(
    serve: Serve, receiver: tuple[Receiver, str]
) -> None:
    """Each event arrives, in order of its repository, and more than once with the same id."""
    heard, url = receiver
    public = (("TREESCALE_PUBLIC_URL", "https://registry.example.com"),)
    server = serve(Options(variables=public, workers=1))
    alice = server.add_user("alice")
    hook = hook_of(server, heard, url)
    wire, pushed = Wire(server, alice), list[tuple[str, str]]()

    def push_some(word: str) -> None:
        for n in range(3):
            for repository in REPOSITORIES:
                push(wire, repository, f"{word}{n}")
                pushed.append((repository, f"{word}{n}"))

    def all_told() -> bool:
        return {(one.repository, one.tag) for one in heard.taken} >= {*pushed}

    server.admin("hook", "ping", hook)
    wait_until("a ping arrives", lambda: heard.pings == 1)
    push_some("up")
    wait_until("what was pushed is told", all_told)
    heard.seconds = 0.5
    push_some("slow")
    heard.status, heard.seconds, before = 503, 0.0, heard.asked
    push_some("refused")
    wait_until("the receiver has refused", lambda: heard.asked >= before + len(REPOSITORIES))
    server.crash()
    server.start()
    push_some("after")
    heard.status = 200
    wait_until("everything is told", all_told, seconds=DELIVERED_SECONDS_MAX)
    check(heard, pushed)
    shown = json.loads(server.admin("hook", "show", hook, "--json"))
    assert {one["answer"] for one in shown["deliveries"]} == {""}
    log = server.log.read_text()
    assert not [word for word in (HIDDEN, TOKEN, heard.secret) if word in log]

"""`treescale events --follow`, and followers over HTTP, beside a server of two workers."""

import json
import subprocess
import threading
import time
from base64 import b64encode
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import pytest

from tests.functional.conftest import Serve
from tests.functional.server import TREESCALE, Account, Options, Server
from tests.functional.wire import Wire
from tests.oci.documents import OCI_CONFIG, descriptor, image

CONFIG = b"{}"
FOLLOWERS = 6
"""Enough for each worker to have some."""
ENDS_SECONDS_MAX = 8.0
"""Far less than what is on its way may take as a server stops."""


@pytest.fixture
def here(serve: Serve) -> Server:
    """Return a server of the test's own, which it stops."""
    return serve(Options())


def push(server: Server, account: Account, *tags: str) -> None:
    wire = Wire(server, account)
    wire.push_blob("admin/app", CONFIG)
    for tag in tags:
        wire.push_manifest("admin/app", tag, image(config=descriptor(CONFIG, OCI_CONFIG)))


def read(stream: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    for line in stream:
        found = json.loads(line)
        if "sequence" in found:
            yield found


def test_a_push_is_seen_as_it_happens_and_streams_end_with_the_server(here: Server) -> None:
    reading = here.add_token(here.admin_account, "--allow", "events")
    pushing = here.add_token(here.admin_account)
    secret = b64encode(f"{reading.name}:{reading.password}".encode()).decode()
    words = [str(TREESCALE), "events", "--follow", "--json", "--kind", "image.*"]
    command = subprocess.Popen([*words, "--data", here.disks[0]], stdout=subprocess.PIPE)
    watch = threading.Timer(60, command.kill)
    watch.start()
    try:
        connections = [here.connect(seconds=60) for _ in range(FOLLOWERS)]
        for each in connections:
            path = "/api/v1/events?follow=1&kind=image.*"
            each.request("GET", path, headers={"Authorization": f"Basic {secret}"})
        answers = [each.getresponse() for each in connections]
        assert [each.status for each in answers] == [200] * FOLLOWERS
        # The command begins with what is new, and nobody tells when that is.
        assert command.stdout is not None
        seen = threading.Event()
        first: list[dict[str, Any]] = []

        def follow() -> None:
            assert command.stdout is not None
            first.append(next(read(command.stdout)))
            seen.set()

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        number = 0
        while not seen.wait(0.3):
            number += 1
            push(here, pushing, f"v{number}")
        assert (first[0]["kind"], first[0]["repository"]) == ("image.pushed", "admin/app")
        for answer in answers:
            told = [event["reference"] for event in islice(read(answer), number)]
            assert told == [f"v{n}" for n in range(1, number + 1)]
        begun = time.monotonic()
        assert here.stop() == 0
        assert time.monotonic() - begun < ENDS_SECONDS_MAX
        for answer in answers:
            assert [*read(answer)] == []
            assert answer.isclosed()
    finally:
        watch.cancel()
        command.kill()
        command.communicate()


def test_an_image_is_told_of_with_its_size(server: Server, wire: Wire, alice: Account) -> None:
    """What the server has recorded of a user's image, read by the user."""
    layer = b"layer" * 100
    name = f"{alice.name}/sized"
    wire.push_blob(name, layer)
    wire.push_blob(name, CONFIG)
    manifest = image(descriptor(layer), config=descriptor(CONFIG, OCI_CONFIG))
    digest = wire.push_manifest(name, "v1", manifest)
    path = f"/api/v1/events?kind=image.pushed&repository={name}"
    (event,) = wire.with_basic("GET", path).expect(200).json()["events"]
    assert (event["digest"], event["actor"]) == (digest, alice.name)
    line = f'"request_id":"{event["request_id"]}"'
    assert line in server.log.read_text().replace(": ", ":"), "as its line has it"
    assert event["payload"]["image_size"] == event["payload"]["size"] + len(layer) + len(CONFIG)
    assert server.outcome("events", "--kind", "image.pushed", "--repository", name)[0] == 0

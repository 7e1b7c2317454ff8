"""Pushes reach a stream of a real NATS, whichever of the two is away in between."""

import asyncio
import signal
from pathlib import Path

import msgspec
from nats.aio.client import Client
from nats.js.api import StreamConfig

from tests.functional.conftest import Serve
from tests.functional.programs import wait_until
from tests.functional.server import Options
from tests.functional.wire import Wire
from tests.nats import running_nats

APP = "admin/team/a.b"


async def add_stream(url: str) -> None:
    """Make the stream that docs/events.md has people make."""
    client = Client()
    await client.connect(url)
    stream = StreamConfig(name="EVENTS", subjects=["registry.>"], duplicate_window=120)
    await client.jetstream().add_stream(stream)
    await client.close()


async def messages(url: str) -> list[tuple[str, str, str]]:
    """Return subject, id and tag of all that the stream has of images."""
    client = Client()
    await client.connect(url)
    stream, found = client.jetstream(), []
    for number in range(1, (await stream.stream_info("EVENTS")).state.last_seq + 1):
        message = await stream.get_msg("EVENTS", number)
        assert message.data is not None
        assert message.headers is not None
        event = msgspec.json.decode(message.data)
        assert message.headers["Treescale-Sequence"] == str(event["sequence"])
        if event["kind"] == "image.pushed":
            found.append((str(message.subject), message.headers["Nats-Msg-Id"], event["reference"]))
    await client.close()
    return found


def test_pushes_reach_nats(serve: Serve, tmp_path: Path) -> None:
    """Each tag once and in order, though NATS is killed, and the server started again."""
    (tmp_path / "nats").mkdir()
    with running_nats(tmp_path / "nats") as nats:
        asyncio.run(add_stream(nats.url))
        variables = (("TREESCALE_NATS", nats.url), ("TREESCALE_NATS_SUBJECT", "registry"))
        server = serve(Options(workers=2, variables=variables))
        wire = Wire(server, server.admin_account)

        def push(tag: str) -> None:
            digest = wire.push_blob(APP, tag.encode())
            manifest = {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": {"mediaType": "text/plain", "digest": digest, "size": 1},
                "layers": [],
            }
            wire.push_manifest(APP, tag, manifest)

        def tags() -> list[str]:
            return [tag for _, _, tag in asyncio.run(messages(nats.url))]

        push("1")
        wait_until("the first is there", lambda: tags() == ["1"])
        nats.stop(signal.SIGKILL)
        push("2")
        nats.start()
        wait_until("the second is there", lambda: tags() == ["1", "2"])
        push("3")
        assert server.stop() == 0
        server.start()
        push("4")
        wait_until("all are there", lambda: tags()[-1] == "4")
        found = asyncio.run(messages(nats.url))
        assert [tag for _, _, tag in found] == ["1", "2", "3", "4"]
        assert {subject for subject, _, _ in found} == {"registry.image.pushed.admin.team.a%2Eb"}
        assert len({told for _, told, _ in found}) == 4

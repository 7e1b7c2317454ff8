"""One log line per request, whoever answered it."""

import asyncio

from structlog.testing import capture_logs

from tests.api.client import Client
from tests.api.running import Running


async def test_a_request_is_one_line_that_says_who_and_what(alice: Client) -> None:
    with capture_logs() as lines:
        await alice.request("GET", "/v2/", headers={"X-Request-Id": "r" * 100})
        await alice.repository("alice/app").get("manifests/none")
    told = [line for line in lines if line["event"] == "request" and line["user"] == "alice"]
    assert [(line["method"], line["path"], line["status"]) for line in told] == [
        ("GET", "/v2/", 200),
        ("GET", "/v2/alice/app/manifests/none", 404),
    ]
    assert told[0]["request_id"] == "r" * 64
    assert len(told[1]["request_id"]) == 16
    assert all(0 <= line["seconds"] < 60 for line in told)


async def test_what_cannot_be_read_has_its_line_too(registry: Running) -> None:
    host, port = registry.url.removeprefix("http://").split(":")
    with capture_logs() as lines:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /v2/ HTTP/1.1\r\nno colon\r\n\r\n")
        assert b" 400 " in await reader.readline()
        writer.close()
    (line,) = [line for line in lines if line["event"] == "request"]
    assert (line["status"], line["user"]) == (400, "")

"""What passes to and from clients is counted while it passes, however it is sent."""

import os

import pytest

from tests.api.client import Client
from tests.api.running import Running
from treescale.metrics.traffic import Flow


@pytest.mark.parametrize("size", [100, 300_000, 3_000_000])
async def test_blobs_are_counted_both_ways(registry: Running, alice: Client, size: int) -> None:
    app, data = alice.repository("alice/app"), os.urandom(size)
    traffic = registry.parts.traffic
    digest = await app.push_blob(data)
    assert traffic.total(Flow.FROM_CLIENTS) == size
    assert (await app.get(f"blobs/{digest}")).body == data
    assert traffic.total(Flow.TO_CLIENTS) == size
    part = await app.get(f"blobs/{digest}", Range="bytes=10-29")
    assert part.body == data[10:30]
    assert traffic.total(Flow.TO_CLIENTS) == size + 20
    assert [traffic.total(flow) for flow in (Flow.TO_SERVERS, Flow.FROM_SERVERS)] == [0, 0]

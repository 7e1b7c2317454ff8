"""Any request gets an answer of the registry's own, in time, and harms nothing.

Never a 5xx; refusals in the form clients parse, with a documented code; the connection usable or
closed; memory bounded; and somebody's image is still there with its own bytes afterwards.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from itertools import islice
from pathlib import Path

import aiohttp
import pytest

from tests.api.client import Client
from tests.api.running import PASSWORD
from tests.fuzz.budget import TIMEOUT, Tally, again, cases, chance
from tests.fuzz.callers import Wallet
from tests.fuzz.conftest import NewTally
from tests.fuzz.content import LARGE
from tests.fuzz.grammar import UPLOAD, begin_session, draw
from tests.fuzz.model import hash_of
from tests.fuzz.rig import copy_home, running
from tests.fuzz.wire import Link
from tests.oci.documents import encoded

SHARE = 0.2
AT_ONCE = 8
memory_bytes_max = 400 * 1024 * 1024
"""Server and fuzzer together: more than the largest bodies of all connections, and bounded."""
lost_bytes_min = 16 * 1024


class KnownImage:
    """Carol's image, which nobody else may touch."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._repository = Client(session, url, "carol", PASSWORD).repository("carol/good")
        self._payload = b""

    async def push(self) -> None:
        """Push it."""
        self._payload = encoded(await self._repository.push_image("latest", LARGE))

    async def check(self) -> None:
        """Pull it, and compare every byte."""
        manifest = await self._repository.get("manifests/latest")
        assert manifest.expect(200).body == self._payload
        layer = await self._repository.get(f"blobs/{hash_of(LARGE)}")
        assert layer.expect(200).body == LARGE


async def run_cases(
    numbers: Iterable[int], run: Callable[[int], Coroutine[None, None, None]]
) -> None:
    """Run the cases, some at once; a failure says how to see it again."""

    async def one(number: int) -> None:
        try:
            await run(number)
        except Exception as error:
            error.add_note(again(number))
            raise

    numbers = iter(numbers)
    while batch := list(islice(numbers, AT_ONCE)):
        async with asyncio.TaskGroup() as group:
            for number in batch:
                group.create_task(one(number))


async def run_case(number: int, port: int, credentials: list[str], tally: Tally) -> None:
    """Send a few requests on one connection, on a new one whenever the server closed it."""
    source = chance(number, "requests")
    requests = [begin_session(credentials[0])]
    requests += [draw(source, credentials) for _ in range(source.randrange(1, 8))]
    link, upload = await Link.open(port), "0" * 32
    try:
        for request in requests:
            data = request.data.replace(UPLOAD.encode(), upload.encode())
            tally.inputs += 1
            await link.send(data)
            answer = await link.answer(head=request.head)
            if answer is None:  # closed after the answer before; what is asked anew is answered
                await link.close()
                link = await Link.open(port)
                await link.send(data)
                answer = await link.answer(head=request.head)
            if answer is None:
                # Closed with bytes unread, TCP takes the answer back; a small request is all read.
                assert len(data) > lost_bytes_min, f"closed without an answer: {data[:2000]!r}"
                tally.answers["closed"] += 1
                break
            tally.answered(answer.status)
            try:
                answer.check(head=request.head)
            except AssertionError as error:
                error.add_note(f"the request: {data[:2000]!r}")
                raise
            upload = answer.headers.get("docker-upload-uuid", upload)
    finally:
        await link.close()


@pytest.mark.early
@pytest.mark.timeout(TIMEOUT)
async def test_any_request_is_answered(home: Path, tmp_path: Path, new_tally: NewTally) -> None:
    tally = new_tally("requests")
    async with (
        running(copy_home(home, tmp_path / "home")) as worker,
        aiohttp.ClientSession() as http,
    ):
        image = KnownImage(http, worker.url)
        await image.push()
        wallet = Wallet(home)
        public = {"alice/app": False, "alice/base": False, "alice/manifests/tags": False}
        bearers = [
            (await wallet.bearer(http, worker, name, public, fresh=True)).text
            for name in ("alice", "bob", "nobody")
        ]
        credentials = [
            *(wallet.basic(name)["Authorization"] for name in ("alice", "bob", "reader")),
            *(f"Bearer {text}" for text in bearers),
        ]
        await run_cases(
            cases(SHARE), lambda number: run_case(number, worker.port, credentials, tally)
        )
        await image.check()
    assert tally.grown() < memory_bytes_max, tally

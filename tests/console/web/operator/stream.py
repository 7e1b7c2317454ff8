"""The parts of a page, as a browser gets them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from yarl import URL

from tests.console.web.browser import Browser

SECONDS_MAX = 10.0


class Parts:
    """What came on one connection: the last of each part, and how many."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.shown: dict[str, str] = {}
        self.count = 0

    async def until(self, element: str, text: str) -> str:
        """Read until a part says so; return it."""
        async with asyncio.timeout(SECONDS_MAX):
            while text not in self.shown.get(element, ""):
                await self._read()
        return self.shown[element]

    async def quiet(self, seconds: float) -> int:
        """Read for so long; return how many parts came."""
        before = self.count
        try:
            async with asyncio.timeout(seconds):
                while True:
                    await self._read()
        except TimeoutError:
            return self.count - before

    async def _read(self) -> None:
        line = await self.response.content.readline()
        assert line, "the connection has ended"
        if line.startswith(b"data: "):
            part = json.loads(line.removeprefix(b"data: "))
            self.shown[part["id"]] = part["html"]
            self.count += 1


@asynccontextmanager
async def parts_of(browser: Browser, path: str) -> AsyncIterator[Parts]:
    """Look on for the time of a block."""
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    async with browser.session.get(
        URL(browser.url + path, encoded=True), headers={"Cookie": cookie}
    ) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "text/event-stream"
        yield Parts(response)

"""A browser without scripts: it keeps cookies, says where its forms come from, follows nothing."""

import gzip
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urlencode

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Shown:
    """What came back."""

    status: int
    headers: CIMultiDictProxy[str]
    text: str
    location: str = ""
    set_cookies: tuple[str, ...] = ()

    def expect(self, status: int) -> "Shown":
        """Return itself when it has this status."""
        assert self.status == status, f"{self.status} {self.location} {self.text[:2000]}"
        return self

    @property
    def words(self) -> str:
        """Return what a reader sees."""
        return " ".join(_Words.of(self.text).split())

    def field(self, name: str) -> str:
        """Return the value of the first field of this name."""
        found = re.search(rf'<input[^>]* name="{name}" value="([^"]*)"', self.text)
        assert found is not None, f"no field {name}"
        return found[1]


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    @classmethod
    def of(cls, text: str) -> str:
        parser = cls()
        parser.feed(text)
        return " ".join(parser.said)

    def handle_data(self, data: str) -> None:
        self.said.append(data)


@dataclass
class Browser:
    """Somebody who looks at pages."""

    session: aiohttp.ClientSession
    url: str
    cookies: dict[str, str] = field(default_factory=dict)
    form_token: str = ""
    origin: str | None = None
    """What it says its forms come from; the registry itself unless told."""
    headers: dict[str, str] = field(default_factory=dict)

    async def get(self, path: str) -> Shown:
        """Open a page."""
        return await self._ask("GET", path, {}, b"")

    async def post(self, path: str, /, **fields: str) -> Shown:
        """Send a form, with what each form of a session has."""
        given = {"form": self.form_token} | fields if self.form_token else fields
        headers = {"Content-Type": FORM, "Origin": self.origin or self.url}
        return await self._ask("POST", path, headers, urlencode(given).encode())

    async def ask(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Shown:
        """Send anything."""
        return await self._ask(method, path, headers, body)

    async def sign_in(self, name: str, password: str) -> Shown:
        """Sign in, and know the forms of the session."""
        shown = await self.post("/-/sign-in", name=name, password=password)
        shown.expect(303)
        await self.learn()
        return shown

    async def learn(self) -> Shown:
        """Open the account's page, and keep what its forms have."""
        page = (await self.get("/-/account")).expect(200)
        self.form_token = page.field("form")
        return page

    async def _ask(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Shown:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        given = self.headers | headers | ({"Cookie": cookie} if cookie else {})
        async with self.session.request(
            method,
            URL(self.url + path, encoded=True),
            headers=given,
            data=body or None,
            allow_redirects=False,
        ) as response:
            body = await response.read()
            zipped = response.headers.get("Content-Encoding") == "gzip"
            text = (gzip.decompress(body) if zipped and body else body).decode()
            set_cookies = tuple(response.headers.getall("Set-Cookie", []))
            for one in set_cookies:
                self._keep(one)
            assert response.status != 500, text
            location = response.headers.get("Location", "")
            return Shown(response.status, response.headers, text, location, set_cookies)

    def _keep(self, set_cookie: str) -> None:
        name, _, value = set_cookie.partition(";")[0].partition("=")
        if value:
            self.cookies[name] = value
        else:
            self.cookies.pop(name, None)

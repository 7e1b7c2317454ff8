"""A provider of sign-on that does as a test says, well and badly, over real HTTP."""

import base64
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from aiohttp import web

from tests.id_tokens import RSA_KEY, Maker, PrivateKey, jwk, jwks
from treescale.metadata.identity.providers import Provider
from treescale.metadata.identity.terms import Terms

CLIENT = "treescale-client"
SECRET = "s3cret:&of the client"


@dataclass
class FakeProvider:
    """What it says of whoever comes, and what it does wrong."""

    now: Callable[[], float]
    url: str = ""
    claims: dict[str, Any] = field(
        default_factory=lambda: {"sub": "1", "email": "dora@corp.example"}
    )
    """Of the ID token."""
    userinfo: dict[str, Any] = field(default_factory=dict)
    key: PrivateKey = RSA_KEY
    """That it signs with."""
    key_id: str = "k1"
    published: list[dict[str, Any]] = field(default_factory=lambda: [jwk(RSA_KEY, "k1")])
    document: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    """Of the answer to a code."""
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def provider(self, name: str = "corp", **terms: Any) -> Provider:
        """Return what an administrator would add."""
        return Provider(name, self.url, CLIENT, SECRET, Terms(**terms))

    def agree(self, location: str, **extra: str) -> str:
        """Return the path that the browser is sent back to, as by who has logged in there."""
        parts = urlsplit(location)
        assert location.startswith(f"{self.url}/authorize?")
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        assert asked["client_id"] == CLIENT
        code = f"code-{len(self.codes)}"
        self.codes[code] = asked
        back = urlsplit(asked["redirect_uri"]).path
        query = {"code": code, "state": asked["state"], **extra}
        return f"{back}?" + "&".join(f"{name}={value}" for name, value in query.items())

    async def discovery(self, _: web.Request) -> web.Response:
        self.asked.append("discovery")
        document = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "userinfo_endpoint": f"{self.url}/userinfo",
            "jwks_uri": f"{self.url}/keys",
        }
        return web.json_response(document | self.document)

    async def keys(self, _: web.Request) -> web.Response:
        self.asked.append("keys")
        return web.Response(body=jwks(*self.published), content_type="application/json")

    async def token(self, request: web.Request) -> web.Response:
        self.asked.append("token")
        if self.status != 200:
            return web.json_response({"error": "server_error"}, status=self.status)
        form = await request.post()
        wanted = base64.b64encode(b"treescale-client:s3cret%3A%26of%20the%20client").decode()
        assert request.headers["Authorization"] == f"Basic {wanted}"
        asked = self.codes.pop(str(form["code"]), None)
        if asked is None or form["redirect_uri"] != asked["redirect_uri"]:
            return web.json_response({"error": "invalid_grant"}, status=400)
        digest = hashlib.sha256(str(form["code_verifier"]).encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        assert challenge == asked["code_challenge"]
        maker = Maker(self.url, self.now(), audience=CLIENT, private=self.key, key_id=self.key_id)
        text = maker.token(**({"nonce": asked["nonce"]} | self.claims))
        return web.json_response({"id_token": text, "access_token": "at", "token_type": "Bearer"})

    async def tell(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer at"
        return web.json_response({"sub": self.claims.get("sub")} | self.userinfo)


@asynccontextmanager
async def providing(now: Callable[[], float]) -> AsyncIterator[FakeProvider]:
    """Run one on this machine."""
    fake = FakeProvider(now)
    app = web.Application()
    app.router.add_get("/.well-known/openid-configuration", fake.discovery)
    app.router.add_get("/keys", fake.keys)
    app.router.add_post("/token", fake.token)
    app.router.add_get("/userinfo", fake.tell)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    fake.url = f"http://{host}:{port}"
    yield fake
    await runner.cleanup()

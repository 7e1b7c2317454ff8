"""The way from plain HTTP to HTTPS: every request is told the same address with `https`.

Nothing of the registry is served here, and no credential is looked at. What is answered itself is
`/healthz`, and the files with which an ACME client (certbot `--webroot`) proves that it is us.
"""

import asyncio
import os
import re
import stat
from pathlib import Path
from typing import Final

from aiohttp import web

from treescale.http.proxy.origin import parse_host

CHALLENGES: Final = ".well-known/acme-challenge"
CHALLENGE_BYTES_MAX: Final = 4096
_CHALLENGE: Final = re.compile(rf"/{re.escape(CHALLENGES)}/([A-Za-z0-9_-]{{1,255}})")
"""A token of RFC 8555, section 8.3: nothing that leads elsewhere."""
_HTTPS_PORT: Final = 443
_PORT: Final = re.compile(r":[0-9]+\Z")


class Redirect:
    """Answers requests without TLS.

    `public_url` is what clients type; when that is not known it is the host that they ask for, and
    `port`. None is the one that goes without saying.
    `webroot` is the directory that an ACME client writes into; "" for none.
    """

    def __init__(self, public_url: str, port: int | None, webroot: str = "") -> None:
        self._public_url = public_url if public_url.startswith("https:") else ""
        self._port = port
        self._webroot = webroot

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Return where the same is with https: 308, so that the method and the body stay."""
        path = request.rel_url.raw_path
        challenge = _CHALLENGE.fullmatch(path)
        if request.method in ("GET", "HEAD"):
            if path == "/healthz":
                return web.Response(text="alive\n")
            if self._webroot and challenge is not None:
                return await self._challenge(challenge[1])
        origin = self._public_url or self._origin(request.headers.get("Host"))
        target = request.rel_url.raw_path_qs
        if origin is None or not (path.startswith("/") and target.isascii()):
            return web.Response(status=400, text="use https:// here, not http://\n")
        # The path follows a whole origin, so none leads to another host.
        headers = {"Location": f"{origin}{target}", "Cache-Control": "no-store"}
        return web.Response(status=308, text=f"use {origin}\n", headers=headers)

    def _origin(self, host: str | None) -> str | None:
        """Return the same host with https; None when it is no host."""
        name = parse_host(host)
        if name is None:
            return None
        name = _PORT.sub("", name)
        return (
            f"https://{name}"
            if self._port in (None, _HTTPS_PORT)
            else f"https://{name}:{self._port}"
        )

    async def _challenge(self, token: str) -> web.StreamResponse:
        """Return what the ACME client has written for this token."""
        path = Path(self._webroot) / CHALLENGES / token
        try:
            content = await asyncio.to_thread(_small_file, path)
        except OSError:
            return web.Response(status=404, text="no such challenge\n")
        return web.Response(body=content, content_type="text/plain")


def _small_file(path: Path) -> bytes:
    """Return what is in a regular file; raises OSError for anything else, also a link."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size > CHALLENGE_BYTES_MAX:
            raise OSError("it is no challenge")
        return file.read(CHALLENGE_BYTES_MAX)

"""An image made of Python's own library, and the requests with which clients push and pull it."""

import asyncio
import hashlib
import io
import json
import sysconfig
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import aiohttp

from treescale.errors import Failed

ADMIN: Final = "admin"
REPOSITORY: Final = f"{ADMIN}/demo"
LIBRARY_BYTES_MAX: Final = 40 * 1024 * 1024
PIECE_BYTES: Final = 1024 * 1024
_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"


def layer(program: bytes) -> bytes:
    """Return a tar of the standard library's modules, and a program that differs."""
    library = Path(sysconfig.get_path("stdlib"))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in sorted(library.rglob("*.py")):
            if buffer.tell() > LIBRARY_BYTES_MAX or "site-packages" in path.parts:
                continue
            archive.add(path, arcname=str(Path("lib") / path.relative_to(library)))
        entry = tarfile.TarInfo("bin/program")
        entry.size = len(program)
        archive.addfile(entry, io.BytesIO(program))
    return buffer.getvalue()


def digest_of(data: bytes) -> str:
    """Return the name of a blob."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Client:
    """What docker is to a registry, on one server; raises Failed when an answer is no success."""

    def __init__(self, http: aiohttp.ClientSession, url: str, token: str = "") -> None:
        self._http = http
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    async def is_ready(self) -> bool:
        """Say whether the server is fit to serve."""
        try:
            async with self._http.get(f"{self._url}/readyz") as answer:
                return answer.ok
        except aiohttp.ClientConnectionError:
            return False

    async def token(self, password: str) -> str:
        """Log in as the administrator; return a token that is good for all servers."""
        scope = {"scope": f"repository:{REPOSITORY}:pull,push"}
        login = {"Authorization": aiohttp.encode_basic_auth(ADMIN, password)}
        async with self._http.get(f"{self._url}/token", params=scope, headers=login) as answer:
            _expect(answer, 200)
            return str((await answer.json())["token"])

    async def push(self, tag: str, data: bytes) -> None:
        """Push an image of one layer."""
        config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers"}})
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": await self._push_blob(config.encode(), _CONFIG),
            "layers": [await self._push_blob(data, _LAYER)],
        }
        path = f"{self._url}/v2/{REPOSITORY}/manifests/{tag}"
        headers = self._headers | {"Content-Type": _MANIFEST}
        async with self._http.put(path, data=json.dumps(manifest), headers=headers) as answer:
            _expect(answer, 201)

    async def _push_blob(self, data: bytes, media_type: str) -> dict[str, object]:
        """Push a blob as dockerd does and return its descriptor."""
        path, headers = f"{self._url}/v2/{REPOSITORY}/blobs/uploads/", self._headers
        async with self._http.post(path, headers=headers) as answer:
            _expect(answer, 202)
            path = f"{self._url}{answer.headers['Location']}"
        async with self._http.patch(path, data=io.BytesIO(data), headers=headers) as answer:
            _expect(answer, 202)
            path = f"{self._url}{answer.headers['Location']}"
        digest = digest_of(data)
        async with self._http.put(path, params={"digest": digest}, headers=headers) as answer:
            _expect(answer, 201)
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    async def pull(self, tag: str, *, pause_seconds: float = 0) -> AsyncIterator[bytes]:
        """Yield the image's layer in pieces, with a pause after each: a line that is not so fast.

        When the last piece is there, all are what the manifest's digest says; else it is Failed.
        """
        found = hashlib.sha256()
        path = f"{self._url}/v2/{REPOSITORY}/manifests/{tag}"
        async with self._http.get(path, headers=self._headers) as answer:
            _expect(answer, 200)
            digest = json.loads(await answer.read())["layers"][0]["digest"]
        path = f"{self._url}/v2/{REPOSITORY}/blobs/{digest}"
        async with self._http.get(path, headers=self._headers) as answer:
            _expect(answer, 200)
            async for piece in answer.content.iter_chunked(PIECE_BYTES):
                found.update(piece)
                yield piece
                await asyncio.sleep(pause_seconds * len(piece) / PIECE_BYTES)
        if digest != f"sha256:{found.hexdigest()}":
            raise Failed("the layer came back with other bytes than were pushed")


def _expect(answer: aiohttp.ClientResponse, status: int) -> None:
    if answer.status != status:
        raise Failed(f"{answer.method} {answer.url.path} answered {answer.status}, not {status}")

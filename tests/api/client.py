"""A client that is as strict as the strictest ones seen: every answer is judged before it is used.

It asks `/token` for what it needs, as docker and podman do, and follows nothing by itself.
"""

import hashlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from tests.oci.documents import OCI_CONFIG, Document, descriptor, encoded, image

EVERYTHING: Final = "pull,push,delete"
CATALOG: Final = "registry:catalog:*"
_REPOSITORY: Final = re.compile(
    r"/v2/(.+)/(?:manifests/[^/]+|blobs/uploads/?[^/]*|blobs/[^/]+|tags/list|referrers/[^/]+)"
)
MakePublic = Callable[[str], Awaitable[None]]
Data = bytes | AsyncIterator[bytes] | None


@dataclass(frozen=True)
class Answer:
    """What came back, whole."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """Return the error code of a refusal."""
        code = self.json["errors"][0]["code"]
        assert isinstance(code, str)
        return code

    def expect(self, status: int, code: str | None = None) -> "Answer":
        """Return itself when it has this status (and error code)."""
        assert self.status == status, f"{self.status} {self.body[:500]!r}"
        assert code is None or self.code == code, self.body
        return self


@dataclass
class Client:
    """Somebody at the other end: a user, or nobody when `user` is empty."""

    session: aiohttp.ClientSession
    url: str
    user: str = ""
    password: str = ""
    tokens: dict[tuple[str, ...], str] = field(default_factory=dict)

    def repository(self, name: str) -> "Repository":
        """Return a repository as this user sees it, with every right there is asked for."""
        return Repository(self, name)

    async def raw(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, data: Data = None
    ) -> Answer:
        """Send a request as it is, without credentials, and judge the answer."""
        async with self.session.request(
            method,
            URL(self.url + path, encoded=True),
            headers=headers,
            data=BytesIO(data) if isinstance(data, bytes) and data else data,
            allow_redirects=False,
            skip_auto_headers=("Content-Type", "Accept", "Accept-Encoding", "User-Agent"),
        ) as response:
            answer = Answer(response.status, response.headers, await response.read())
        judge(method, path, answer)
        return answer

    async def request(
        self,
        method: str,
        path: str,
        *,
        scopes: tuple[str, ...] | None = None,
        headers: Mapping[str, str] | None = None,
        data: Data = None,
    ) -> Answer:
        """Send a request with a token for `scopes`; by default every right on its repository."""
        if scopes is None:
            scopes = _scopes(path.partition("?")[0])
        token = await self.token(*scopes)
        return await self.raw(
            method, path, CIMultiDict({"Authorization": f"Bearer {token}", **(headers or {})}), data
        )

    async def token(self, *scopes: str) -> str:
        """Return a bearer token for the scopes, asked for once."""
        if scopes not in self.tokens:
            answer = await self.ask_token(*scopes)
            self.tokens[scopes] = answer.expect(200).json["token"]
        return self.tokens[scopes]

    async def ask_token(self, *scopes: str, **parameters: str) -> Answer:
        """GET /token as docker does."""
        query = URL("/token").with_query(
            [("service", "registry"), *(("scope", one) for one in scopes), *parameters.items()]
        )
        return await self.raw("GET", str(query), self.basic() if self.user else None)

    async def refresh_token(self) -> str:
        """POST /token as a client does that keeps a refresh token apart from the password."""
        fields = {"grant_type": "password", "client_id": "tests", "access_type": "offline"}
        form = urlencode(fields | {"username": self.user, "password": self.password})
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = await self.raw("POST", "/token", headers, form.encode())
        return str(answer.expect(200).json["refresh_token"])

    def basic(self) -> dict[str, str]:
        """Return the Basic credentials of this user as a header."""
        return {"Authorization": aiohttp.encode_basic_auth(self.user, self.password)}


@dataclass
class Repository:
    """One repository, through one client's eyes."""

    client: Client
    name: str

    async def request(
        self,
        method: str,
        path: str,
        *,
        scopes: tuple[str, ...] | None = None,
        headers: Mapping[str, str] | None = None,
        data: Data = None,
    ) -> Answer:
        """Send a request to a path inside this repository, or to a Location within it."""
        if not path.startswith("/"):
            path = f"/v2/{self.name}/{path}"
        if scopes is None:
            scopes = (f"repository:{self.name}:{EVERYTHING}",)
        return await self.client.request(method, path, scopes=scopes, headers=headers, data=data)

    async def get(self, path: str, **headers: str) -> Answer:
        """GET."""
        return await self.request("GET", path, headers=headers)

    async def head(self, path: str, **headers: str) -> Answer:
        """HEAD."""
        return await self.request("HEAD", path, headers=headers)

    async def delete(self, path: str) -> Answer:
        """DELETE."""
        return await self.request("DELETE", path)

    async def start_upload(self, query: str = "") -> str:
        """Open a session and return its Location."""
        answer = await self.request("POST", f"blobs/uploads/{query}")
        location = answer.expect(202).headers["Location"]
        assert location.startswith(f"/v2/{self.name}/blobs/uploads/")
        return location

    async def push_blob(self, data: bytes, algorithm: str = "sha256") -> str:
        """Push a blob by POST and PUT; return its digest."""
        digest = f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
        location = await self.start_upload()
        answer = await self.request("PUT", f"{location}?digest={digest}", data=data)
        answer.expect(201)
        return digest

    async def put_manifest(
        self, document: Document | bytes, reference: str | None = None, content_type: str = ""
    ) -> Answer:
        """PUT a manifest, by its digest unless `reference` says otherwise."""
        payload = document if isinstance(document, bytes) else encoded(document)
        if reference is None:
            reference = "sha256:" + hashlib.sha256(payload).hexdigest()
        content_type = content_type or json.loads(payload)["mediaType"]
        return await self.request(
            "PUT", f"manifests/{reference}", headers={"Content-Type": content_type}, data=payload
        )

    async def push_image(self, tag: str, *layers: bytes, **more: Any) -> Document:
        """Push the blobs and the manifest of an image; return its document."""
        config = json.dumps({"made for": tag}).encode()
        for data in (config, *layers):
            await self.push_blob(data)
        document = image(*map(descriptor, layers), config=descriptor(config, OCI_CONFIG), **more)
        (await self.put_manifest(document, tag)).expect(201)
        return document


def _scopes(path: str) -> tuple[str, ...]:
    if path == "/v2/_catalog":
        return (CATALOG,)
    found = _REPOSITORY.fullmatch(path)
    return (f"repository:{found[1]}:{EVERYTHING}",) if found else ()


def judge(method: str, path: str, answer: Answer) -> None:
    """Check what must be true of every answer (wire.md 3a, "Everywhere")."""
    headers = answer.headers
    assert headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    assert "Content-Encoding" not in headers or path.startswith("/metrics")
    assert answer.status != 500, answer.body
    if method == "HEAD" or answer.status in (204, 304):
        assert not answer.body
        return
    assert int(headers["Content-Length"]) == len(answer.body)
    if answer.status == 503 and path.startswith(("/readyz", "/stopz")):
        return  # they are for balancers and administrators, and no part of the registry's API
    if path.startswith("/api/"):
        kind = "application/problem+json" if answer.status >= 400 else "application/json"
        assert headers["Content-Type"] == kind, (method, path)
        assert headers["Cache-Control"] == "no-store"
    elif answer.status >= 400:
        assert headers["Content-Type"] == "application/json", (method, path)
        assert answer.json["errors"], "docker shows the first of them"
        for error in answer.json["errors"]:
            assert error["code"] == error["code"].upper()
            assert error["message"]
    if answer.status == 401:
        assert headers["WWW-Authenticate"]

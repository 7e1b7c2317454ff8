"""The registry's API by hand: raw HTTP, with a token fetched as clients do."""

import base64
import http.client
import json
import re
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from tests.functional.server import Account
from tests.images import sha256_of

Body = bytes | Iterator[bytes] | None
"""An iterator is sent in pieces, without a length; it cannot be sent again after a challenge."""


class Unavailable(AssertionError):
    """The server cannot just now, and says when to try again."""


@dataclass(frozen=True)
class Answer:
    """What the server said."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)

    @property
    def location(self) -> str:
        """Return the path and query of the Location header."""
        place = urllib.parse.urlsplit(self.headers["Location"])
        return f"{place.path}?{place.query}" if place.query else place.path

    def expect(self, status: int) -> "Answer":
        """Return itself when it has the status; else fail with what it says."""
        if self.status == status:
            return self
        said = f"{self.status}, not {status}: {self.body[:500]!r}"
        busy = self.status == http.client.SERVICE_UNAVAILABLE and "Retry-After" in self.headers
        raise Unavailable(said) if busy else AssertionError(said)


class Reachable(Protocol):
    """A server, whatever runs it."""

    def connect(self) -> http.client.HTTPConnection:
        """Return a new connection to it."""
        ...


class Wire:
    """One user's requests. Each has a new connection, as dockerd's have."""

    def __init__(self, server: Reachable, account: Account | None = None) -> None:
        self._server = server
        self._account = account
        self._tokens: dict[str, str] = {}

    def request(
        self,
        method: str,
        path: str,
        body: Body = None,
        headers: Mapping[str, str] | None = None,
        *,
        also: str = "",
    ) -> Answer:
        """Send a request; when it is challenged, fetch the token and send it again.

        `also` is a scope to ask for beside the one of the challenge.
        """
        answer = self._send(method, path, body, headers or {}, self._tokens.get(_room(path), ""))
        challenge = answer.headers.get("WWW-Authenticate", "")
        if answer.status != http.client.UNAUTHORIZED or not challenge.startswith("Bearer "):
            return answer
        token = self._tokens[_room(path)] = self._fetch_token(challenge, also)
        return self._send(method, path, body, headers or {}, token)

    def _send(
        self, method: str, path: str, body: Body, headers: Mapping[str, str], token: str
    ) -> Answer:
        bearer = {"Authorization": f"Bearer {token}"} if token else {}
        connection = self._server.connect()
        try:
            connection.request(method, path, body=body, headers={**headers, **bearer})
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def with_basic(self, method: str, path: str) -> Answer:
        """Send a request with name and password, when there are any."""
        basic = {}
        if self._account is not None:
            pair = f"{self._account.name}:{self._account.password}".encode()
            basic = {"Authorization": "Basic " + base64.b64encode(pair).decode()}
        return self._send(method, path, None, basic, "")

    def request_cut(
        self, method: str, path: str, body: bytes, *, sent: int, then: Callable[[], None]
    ) -> None:
        """Send `sent` bytes of a longer body, do `then`, and go on sending until that fails."""
        connection = self._server.connect()
        try:
            connection.putrequest(method, path)
            connection.putheader("Authorization", f"Bearer {self._tokens[_room(path)]}")
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders()
            connection.send(body[:sent])
            then()
            connection.send(body[sent:])
            connection.getresponse()
        finally:
            connection.close()

    def _fetch_token(self, challenge: str, also: str) -> str:
        asked = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        realm = urllib.parse.urlsplit(asked.pop("realm"))
        asked.pop("error", None)
        asked["scope"] = f"{asked.get('scope', '')} {also}".strip()
        path = f"{realm.path}?{urllib.parse.urlencode(asked)}"
        token: str = self.with_basic("GET", path).expect(200).json()["token"]
        return token

    def push_blob(self, repository: str, data: bytes) -> str:
        """Push a blob by POST and PUT, and return its digest."""
        digest = sha256_of(data)
        place = self.begin_upload(repository)
        self.finish_upload(place, digest, data).expect(201)
        return digest

    def begin_upload(self, repository: str) -> str:
        """Begin an upload and return its location."""
        return self.request("POST", f"/v2/{repository}/blobs/uploads/").expect(202).location

    def finish_upload(self, place: str, digest: str, data: Body = b"") -> Answer:
        """Send the last bytes of an upload, and its digest."""
        mark = "&" if "?" in place else "?"
        return self.request("PUT", f"{place}{mark}digest={digest}", data)

    def put_whole(self, repository: str, data: bytes) -> Answer:
        """Push a blob in one request."""
        path = f"/v2/{repository}/blobs/uploads/?digest={sha256_of(data)}"
        return self.request("POST", path, data)

    def push_manifest(self, repository: str, reference: str, manifest: Mapping[str, Any]) -> str:
        """Push a manifest and return its digest."""
        data = written(manifest)
        kind = {"Content-Type": str(manifest["mediaType"])}
        self.request("PUT", f"/v2/{repository}/manifests/{reference}", data, kind).expect(201)
        return sha256_of(data)

    def pull_blob(self, repository: str, digest: str) -> bytes:
        """Pull a blob and return its bytes."""
        return self.request("GET", f"/v2/{repository}/blobs/{digest}").expect(200).body


def written(manifest: Mapping[str, Any]) -> bytes:
    """Return a manifest as it is pushed."""
    return json.dumps(manifest).encode()


def _room(path: str) -> str:
    """Return what a token is good for: a repository, roughly."""
    return re.split(r"/(?:blobs|manifests|tags|referrers)/", path)[0]

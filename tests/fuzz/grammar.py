"""Requests nobody thought of: a grammar of the routes, valid and invalid parts mixed, then mutated.

Everything is drawn from one seeded source, so a case's number says what it sends. `{upload}` in a
target stands for the session that the case opened last.
"""

import base64
from dataclasses import dataclass
from random import Random  # noqa: TID251  a seeded source, handed in
from typing import Final

from tests.fuzz.content import BLOBS, SAMPLES
from tests.fuzz.model import hash_of
from tests.fuzz.wire import request

UPLOAD: Final = "{upload}"
METHODS: Final = ("GET", "HEAD", "PUT", "POST", "PATCH", "DELETE")
ODD_METHODS: Final = ("OPTIONS", "TRACE", "CONNECT", "get", "FOO", "PROPFIND", "PURGE", "M" * 300)
NAMES: Final = ("alice/app", "alice/base", "bob/app", "carol/good", "alice/manifests/tags")
ODD_NAMES: Final = (
    "app", "Alice/app", "alice//app", "alice/../carol/good", "alice/app%2Fx", "alice/%00",
    "alice/app%0a", "alice/" + "a" * 300, "alice/é", "alice/%C3%A9", "alice/app%", "alice/-a",
    "a" * 255 + "/b", "alice/_catalog", "./..", "alice/app;x", "alice/%61pp", "", "v2", "~/x",
)  # fmt: skip
DIGESTS: Final = tuple(
    hash_of(data, algorithm)
    for data in (*BLOBS.values(), *(sample.payload for sample in SAMPLES))
    for algorithm in ("sha256", "sha512")
)
ODD_DIGESTS: Final = (
    "sha256:", "sha256:" + "A" * 64, "sha256:" + "a" * 63, "sha1:" + "a" * 40, "md5:x", ":", "a:b",
    "sha256:" + "a" * 64 + "%0a", "sha512:" + "a" * 64, "SHA256:" + "a" * 64,
    "sha256%3A" + "a" * 64, "sha256:" + "é" * 64, "sha256:" + "a" * 4000,
)  # fmt: skip
TAGS: Final = ("latest", "v1", "_", "a.b-c", "0" * 128)
ODD_TAGS: Final = (".a", "-a", "a" * 129, "a b", "a%20b", "%2e%2e", "a%0d%0aX: y", "tag@x", "☃")
NUMBERS: Final = (
    "0", "1", "5", "1000", "1001", "-1", "+1", "1_0", "٣", "²", "1e3", "0x1", " 1", "", "9" * 19,
    "9" * 20, "9" * 65, "NaN", "1.0", "18446744073709551616",
)  # fmt: skip
QUERIES: Final = (
    "n", "last", "digest", "mount", "from", "tag", "artifactType", "digest-algorithm", "ns",
    "scope", "service", "account", "offline_token", "client_id", "_state",
)  # fmt: skip
RANGES: Final = (
    "bytes=0-", "bytes=0-0", "bytes=-1", "bytes=-0", "bytes=5-4", "bytes=9999999999-", "bytes=",
    "bytes=0-1,2-3", "bytes=0-1,0-1", "bytes=" + ",".join("0-0" for _ in range(1100)), "items=0-1",
    "bytes=0-18446744073709551616", "bytes=--1", "bytes=1_0-2", "BYTES=0-1", "bytes = 0-1", "x",
)  # fmt: skip
CONTENT_RANGES: Final = (
    "0-0", "0-6", "5-4", "0-", "-5", "0-18446744073709551615", "bytes 0-6/7", "7-13", "x", "1-1",
    "bytes 0-6/*", "9" * 19 + "-" + "9" * 19, " 0-6 ", "0-6,7-8",
)  # fmt: skip
TYPES: Final = (
    "application/json", "application/octet-stream", "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json", "text/html; charset=utf-7", "a" * 300, "", "/", ";",
    "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
    "application/vnd.docker.distribution.manifest.v1+prettyjws", "é/ü",
)  # fmt: skip
ODD_HEADERS: Final = (
    ("Accept", "*/*"), ("Accept", "x" * 2000), ("Content-Encoding", "gzip"), ("Expect", "200-ok"),
    ("Expect", "100-continue"), ("If-None-Match", "*"), ("If-None-Match", '"' * 99), ("Te", "x"),
    ("If-Match", '"x"'), ("If-Match", "*"), ("If-Match", "x, y"), ("If-None-Match", 'W/"a", "b"'),
    ("Content-Encoding", ""), ("Origin", "https://a.test"), ("Origin", "null"),
    ("If-Range", '"x"'), ("Cookie", "a=b; c"), ("Upgrade", "websocket"),
    ("Connection", "Upgrade"), ("Connection", "close"), ("X-Forwarded-For", "1.2.3.4, é"),
    ("X-Forwarded-Host", 'evil"host'), ("X-Forwarded-Proto", "gopher"), ("Host", "second"),
    ("If-Modified-Since", "yesterday"), ("Content-MD5", "x"), ("X-Big", "y" * 20_000),
    ("Content-Disposition", 'form-data; name="x"'), ("Trailer", "X"), ("Http2-Settings", "AAA"),
    ("Sec-WebSocket-Key", "x"), ("Proxy-Authorization", "Basic x"), ("Forwarded", "for=x"),
)  # fmt: skip
BODIES: Final = (
    b"", b"{}", b"null", b"[" * 20_000, b'{"schemaVersion":2}', b"\xff\xfe{\0}\0",
    b"\xef\xbb\xbf{}",
    b'{"a":1,"a":2}', b'{"size":NaN}', b'{"n":' + b"9" * 5000 + b"}", b'"\\ud800"', b"\0" * 100_000,
    b"grant_type=password&username=alice&password=x", b"grant_type=refresh_token&refresh_token=x",
    b"grant_type=password&" * 200, b"%ff=%00&=&&;", *(sample.payload for sample in SAMPLES),
    *BLOBS.values(),
)  # fmt: skip


@dataclass(frozen=True)
class Drawn:
    """A request of a case; `head` says that its answer has no body."""

    head: bool
    data: bytes


def begin_session(credentials: str) -> Drawn:
    """Return the request that opens a session for `{upload}`."""
    headers = [("Authorization", credentials)]
    target = "/v2/alice/app/blobs/uploads/"
    return Drawn(head=False, data=request("POST", target, headers, b""))


def draw(chance: Random, credentials: list[str]) -> Drawn:
    """Return a request; `credentials` are good ones, most used first."""
    method = chance.choice(ODD_METHODS if chance.random() < 0.05 else METHODS)
    target = _target(chance)
    headers = _headers(chance, credentials)
    body = None if method in ("GET", "HEAD") and chance.random() < 0.8 else _body(chance)
    if chance.random() < 0.15:
        target = _mutated(chance, target)
    chunk = chance.choice((0, 0, 1000, 65_536)) if body else 0
    return Drawn(method == "HEAD", request(method, target, headers, body, chunk=chunk))


def _one(chance: Random, good: tuple[str, ...], odd: tuple[str, ...]) -> str:
    return chance.choice(odd if chance.random() < 0.15 else good)


def _target(chance: Random) -> str:
    name = _one(chance, NAMES, ODD_NAMES)
    digest = _one(chance, DIGESTS, ODD_DIGESTS)
    reference = _one(chance, TAGS, ODD_TAGS) if chance.random() < 0.5 else digest
    path = chance.choice(
        (
            f"/v2/{name}/manifests/{reference}", f"/v2/{name}/manifests/{reference}",
            f"/v2/{name}/blobs/{digest}", f"/v2/{name}/blobs/{digest}",
            f"/v2/{name}/blobs/uploads/", f"/v2/{name}/blobs/uploads/{UPLOAD}",
            f"/v2/alice/app/blobs/uploads/{UPLOAD}", f"/v2/alice/app/blobs/uploads/{UPLOAD}",
            f"/v2/{name}/tags/list", f"/v2/{name}/referrers/{digest}", "/v2/_catalog", "/v2/",
            "/token", f"/v2/{name}", "/", "/healthz", "/v2", "*", "http://registry/v2/", "//v2//",
            f"/v2/{reference}/{name}", "/v2/../../etc/passwd", "/" + "x/" * 2000, "/metrics", "x:1",
        )
    )  # fmt: skip
    words = [_parameter(chance) for _ in range(chance.choice((0, 0, 1, 1, 2, 4, 40)))]
    return path + ("?" + "&".join(words) if words else "")


def _parameter(chance: Random) -> str:
    values = (
        *NUMBERS,
        *DIGESTS,
        *ODD_DIGESTS,
        *TAGS,
        *ODD_TAGS,
        *NAMES,
        "%00",
        "%ff",
        "%",
        "=",
        "a/b+c",
        "a%20b",
        "+",
        "a/b;c=d",
    )
    if chance.random() < 0.3:
        return f"scope=repository:{chance.choice(NAMES)}:{chance.choice(('pull', 'push', '*', ''))}"
    return f"{chance.choice(QUERIES)}={chance.choice(values)}".replace(" ", "+")


def _headers(chance: Random, credentials: list[str]) -> list[tuple[str, str]]:
    headers: list[tuple[str, str]] = []
    if chance.random() < 0.95:
        headers.append(("Authorization", _authorization(chance, credentials)))
    if chance.random() < 0.3:
        headers.append(("Range", chance.choice(RANGES)))
    if chance.random() < 0.2:
        headers.append(("Content-Range", chance.choice(CONTENT_RANGES)))
    if chance.random() < 0.5:
        headers.append(("Content-Type", chance.choice(TYPES)))
    if chance.random() < 0.2:
        headers.append(chance.choice(ODD_HEADERS))
    return headers


def _authorization(chance: Random, credentials: list[str]) -> str:
    if chance.random() < 0.85:
        return chance.choice(credentials)
    junk = base64.b64encode(chance.randbytes(chance.randrange(40))).decode()
    return chance.choice(
        (
            "Basic", "Basic " + junk, "Bearer", "Bearer " + junk, "Bearer a.b.c", "Digest x=y", "",
            "Basic YWxpY2U6d3Jvbmc=", "Basic Og==", "Basic =", "Basic " + "A" * 20_000, "bearer  ",
            _mutated(chance, chance.choice(credentials)), "Bearer " + "é" * 9, "Negotiate " + junk,
        )
    )  # fmt: skip


def _body(chance: Random) -> bytes:
    body = chance.choice(BODIES)
    if chance.random() < 0.3:
        changed = bytearray(body[:5000] or b" ")
        for _ in range(chance.randrange(1, 5)):
            at = chance.randrange(len(changed))
            changed[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
            changed = changed or bytearray(b" ")
        return bytes(changed)
    return body


def _mutated(chance: Random, text: str) -> str:
    """Return the text with a few characters changed, but none that would end a line."""
    characters = list(text)
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(characters) + 1)
        new = chr(chance.choice((*range(33, 127), 0xE9, 0xFF, 0x7F, 0x01)))
        characters[at : at + chance.randrange(2)] = [new] * chance.choice((0, 1, 1, 3))
    return "".join(characters)

"""Who may speak between servers: every request and every answer is signed with the cluster's key.

A request's signature binds what is asked, by whom, of whom, when, and the body; an answer's binds
it to that very request, so an acknowledgement can neither be forged nor be one of another request.
Nothing here trusts an address or a connection. Secrecy is TLS's part, not this one's.
"""

import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from blake3 import blake3

from treescale.errors import Unauthorized

KEY_BYTES: Final = 32
NO_BODY: Final = "-"
"""In the place of a body's digest: there is none, or the chunk's name in the path binds it."""
SKEW_SECONDS_MAX: Final = 60.0
"""How far a sender's clock may be from ours: for so long, too, a request may be repeated."""

_ID: Final = "[A-Za-z0-9._:-]{1,253}"
_SERVER: Final = re.compile(_ID)
_HEADER: Final = re.compile(
    rf"(?P<fields>1 (?P<sender>{_ID}) (?P<addressee>{_ID}) (?P<sent>[0-9]{{1,15}}) "
    r"(?P<deadline>[0-9]{1,7}) [0-9a-f]{32} (?P<body>-|[0-9a-f]{64})) (?P<mac>[0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True)
class PeerKeys:
    """The cluster's keys of 32 bytes: one signs, and the others are accepted as well.

    To change keys, first have every server accept the new one, then sign with it, then drop the
    old one.
    """

    signing: bytes
    accepted: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what is no key."""
        assert all(len(key) == KEY_BYTES for key in (self.signing, *self.accepted)), "no key"


class ClocksApart(Unauthorized):
    """The clock of who asks and that of who is asked differ by too much."""


@dataclass(frozen=True, slots=True)
class SignedRequestRead:
    """A request that somebody with a key of the cluster signed."""

    key: bytes
    mac: str
    sender: str
    addressee: str
    sent_ms: int
    deadline_ms: int
    body: str

    def check_meant(self, server_id: str, now: float) -> None:
        """Raise Unauthorized when it is for another server, or another minute (ClocksApart)."""
        if self.addressee != server_id:
            raise Unauthorized(
                f"this request is for server {self.addressee}, and this is {server_id}: "
                "does its --advertise lead to the right machine?"
            )
        ahead = self.sent_ms / 1000 - now
        if abs(ahead) > SKEW_SECONDS_MAX:
            raise ClocksApart(
                f"the clock of server {self.sender} is {abs(ahead):.1f} s "
                f"{'ahead of' if ahead > 0 else 'behind'} that of {server_id}, "
                f"and {SKEW_SECONDS_MAX:g} s is allowed: set them (NTP)"
            )

    def sign_answer(self, status: int, length: int, body: str) -> str:
        """Return the signature of its answer; `body` is the BLAKE3 of the body in hex, or NO_BODY.

        NO_BODY is for a chunk alone: whoever asked for it by name verifies it.
        """
        return _answer_mac(self.key, self.mac, status, length, body)


def is_server_id(text: str) -> bool:
    """Say whether a server may have this id: it stands in the head of each request."""
    return _SERVER.fullmatch(text) is not None


def authenticate(
    keys: PeerKeys, method: str, path: str, length: int, header: str | None
) -> SignedRequestRead:
    """Return who signed a request; raises Unauthorized unless it was one of the cluster.

    `header` is the value of TreeScale-Request, `length` that of Content-Length (0 without).
    """
    if header is None:
        raise Unauthorized("only servers of this cluster speak here, and sign what they ask")
    match = _HEADER.fullmatch(header)
    if match is None:
        raise Unauthorized("not a signature of version 1; are the servers of different versions?")
    for key in (keys.signing, *keys.accepted):
        if hmac.compare_digest(
            _request_mac(key, method, path, length, match["fields"]), match["mac"]
        ):
            return SignedRequestRead(
                key=key,
                mac=match["mac"],
                sender=match["sender"],
                addressee=match["addressee"],
                sent_ms=int(match["sent"]),
                deadline_ms=int(match["deadline"]),
                body=match["body"],
            )
    raise Unauthorized("signed with a key of another cluster, or changed on the way")


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request's header, and what its answer is recognised by."""

    header: str
    mac: str
    key: bytes

    def is_answered_by(self, header: str | None, status: int, length: int, body: str) -> bool:
        """Say whether an answer with this value of TreeScale-Answer is the one to this request."""
        expected = _answer_mac(self.key, self.mac, status, length, body)
        found = (header or "").encode(errors="replace")
        return hmac.compare_digest(expected.encode(), found)


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs the requests of one server to another.

    `now` gives seconds since the epoch, `nonce` 32 hex digits that never come again.
    """

    sender: str
    addressee: str
    keys: Callable[[], PeerKeys]
    now: Callable[[], float]
    nonce: Callable[[], str]

    def __post_init__(self) -> None:
        """Refuse what cannot be in a header."""
        for name in (self.sender, self.addressee):
            assert is_server_id(name), f"no server is called {name!r}"

    def sign(
        self, method: str, path: str, *, length: int, body: str, deadline_ms: int
    ) -> SignedRequest:
        """Sign a request; `body` is as `body_digest` has it, `deadline_ms` what is left for it."""
        key = self.keys().signing
        sent = round(self.now() * 1000)
        fields = f"1 {self.sender} {self.addressee} {sent} {deadline_ms} {self.nonce()} {body}"
        mac = _request_mac(key, method, path, length, fields)
        return SignedRequest(f"{fields} {mac}", mac, key)


def body_digest(data: bytes | bytearray | memoryview) -> str:
    """Return what stands for a body in signatures."""
    return blake3(data).hexdigest() if data else NO_BODY


def _request_mac(key: bytes, method: str, path: str, length: int, fields: str) -> str:
    return _mac(key, f"treescale peer request\n{method} {path}\n{length}\n{fields}")


def _answer_mac(key: bytes, request_mac: str, status: int, length: int, body: str) -> str:
    return _mac(key, f"treescale peer answer\n{request_mac}\n{status} {length} {body}")


def _mac(key: bytes, text: str) -> str:
    # What came in a request's head may be bytes of no encoding at all.
    return blake3(text.encode(errors="surrogateescape"), key=key).hexdigest()

"""The request of one attempt: where it goes, with which headers. Pure.

Which headers a hook may have of its own is decided here too: none that says how a request is to be
read on its way, and none that a receiver takes for our word.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from treescale.errors import RequestInvalid
from treescale.events.hooks.message import Message, Told
from treescale.events.hooks.signing import signed_headers
from treescale.events.hooks.template import check_names, fill, for_header, for_url
from treescale.metadata.events.hook_records import Hook, HookFormat

HEADERS_MAX: Final = 16
HEADER_CHARACTERS_MAX: Final = 4096
POST: Final = "POST"
AUTHORIZATION: Final = "Authorization"
MASKED: Final = "***"
SECRET_CHARACTERS_MIN: Final = 6
_PROOFS: Final = ("webhook-signature", "X-Signature")
_FORBIDDEN: Final = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "date",
        "expect",
        "forwarded",
        "host",
        "http2-settings",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
        "x-hub-signature",
        "x-hub-signature-256",
        "x-signature",
    }
)
_FORBIDDEN_BEGINNINGS: Final = ("proxy-", "sec-", "webhook-", "x-forwarded-", "x-treescale-")
_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_VALUE: Final = re.compile(r"[\x20-\x7e]*")


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent."""

    url: str
    headers: dict[str, str]
    body: bytes
    method: str = POST


def request_of(
    hook: Hook, told: Told, content: Message, timestamp: int, secrets: Sequence[str]
) -> Request:
    """Return the request of an attempt at `timestamp`; the secrets that are valid, newest first."""
    templated = hook.format is HookFormat.TEMPLATE
    url = fill(hook.url, told, for_url) if templated else hook.url
    own = {
        name: fill(value, told, for_header) if templated else value for name, value in hook.headers
    }
    headers = {"Content-Type": content.content_type, **content.headers}
    if hook.format is HookFormat.HARBOR and secrets:
        headers[AUTHORIZATION] = secrets[0]  # as Harbor does, and its receivers compare
    headers = _over(headers, own)
    signed = signed_headers(secrets, told.event.event_id, timestamp, content.body)
    return Request(url, _over(headers, signed), content.body)


def parse_header(line: str) -> tuple[str, str]:
    """Return the header of `Name: value`; raises RequestInvalid."""
    name, colon, value = line.partition(":")
    if not colon:
        raise RequestInvalid("a header is written NAME: VALUE")
    return name.strip(), value.strip()


def check_headers(headers: Sequence[tuple[str, str]], *, templated: bool) -> None:
    """Raise RequestInvalid for headers that a hook cannot have. A value is never shown."""
    if len(headers) > HEADERS_MAX:
        raise RequestInvalid(f"a webhook has at most {HEADERS_MAX} headers of its own")
    seen: set[str] = set()
    for name, value in headers:
        low = name.lower()
        if _NAME.fullmatch(name) is None:
            raise RequestInvalid("a header's name has letters, digits and dashes")
        if low in _FORBIDDEN or low.startswith(_FORBIDDEN_BEGINNINGS):
            raise RequestInvalid(f"the header {name} cannot be set")
        if low in seen:
            raise RequestInvalid(f"the header {name} is there twice")
        seen.add(low)
        if len(value) > HEADER_CHARACTERS_MAX or _VALUE.fullmatch(value) is None:
            raise RequestInvalid(
                f"the header {name} has printable ASCII, at most {HEADER_CHARACTERS_MAX} characters"
            )
        if templated:
            check_names(value)


def masked_headers(headers: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return headers as people may see them."""
    return {name: MASKED for name, _ in headers}


def masked_url(url: str) -> str:
    """Return a URL as people may see it: what is in its query may be a secret."""
    bare = url.partition("#")[0]
    place, query, _ = bare.partition("?")
    return f"{place}?{MASKED}" if query else place


def secret_words(hook: Hook, request: Request) -> list[str]:
    """Return what of a request nobody is to read in an answer: there are some that repeat it all.

    The longest first. What has less than `SECRET_CHARACTERS_MIN` is no secret, and is everywhere.
    """
    query = urlsplit(request.url).query
    told = [hook.secret, hook.old_secret, query]
    told += [value for _, value in parse_qsl(query)]
    for name, _ in hook.headers:
        value = request.headers.get(name, "")
        told += [value, *value.split()]
    told += [request.headers.get(name, "") for name in _PROOFS]
    return sorted({one for one in told if len(one) >= SECRET_CHARACTERS_MIN}, key=len)[::-1]


def hidden(text: str, words: Iterable[str]) -> str:
    """Return an answer without these words, nor the beginning of one where it was cut."""
    for word in words:
        text = text.replace(word, MASKED)
    for word in words:
        for length in range(min(len(word), len(text)), SECRET_CHARACTERS_MIN - 1, -1):
            if text.endswith(word[:length]):
                text = text[:-length] + MASKED
                break
    return text


def _over(below: Mapping[str, str], above: Mapping[str, str]) -> dict[str, str]:
    """Return headers, of which those above replace those below whatever their case."""
    replaced = {name.lower() for name in above}
    kept = {name: value for name, value in below.items() if name.lower() not in replaced}
    return {**kept, **above}

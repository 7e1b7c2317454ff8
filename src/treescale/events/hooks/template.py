"""Bodies, URLs and headers with `{name}` in them. Pure.

A placeholder is a known name in braces; everything else stays as it is, and what was put in is not
looked at again. Values are escaped for where they stand: as part of a JSON string in a body, with
percents in a URL; a header has nothing but printable ASCII.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import quote

import msgspec

from treescale.errors import RequestInvalid
from treescale.events.hooks.message import Told

NAMES: Final[Mapping[str, Callable[[Told], str]]] = {
    "kind": lambda told: told.event.kind,
    "event_id": lambda told: told.event.event_id,
    "sequence": lambda told: str(told.event.sequence),
    "time": lambda told: told.time,
    "actor": lambda told: told.event.actor,
    "registry": lambda told: told.registry,
    "namespace": lambda told: told.namespace,
    "repository": lambda told: told.repository,
    "name": lambda told: told.name,
    "tag": lambda told: told.tag,
    "digest": lambda told: told.digest,
    "previous_digest": lambda told: told.event.previous_digest or "",
    "image": lambda told: told.image,
}
"""What may stand in braces, and what it is of an event."""
_PLACE: Final = re.compile(r"\{([a-z_]+)\}")
_LIKE_A_PLACE: Final = re.compile(r"\{ ?[A-Za-z_][A-Za-z0-9_.-]* ?\}")
_HOST: Final = re.compile(r"https?://[^/?#{}]+(?:[/?#]|\Z)")
_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e]")


def for_json(value: str) -> str:
    """Return a value as it stands within a JSON string."""
    return msgspec.json.encode(value).decode()[1:-1]


def for_url(value: str) -> str:
    """Return a value as it stands anywhere after a URL's host."""
    return quote(value, safe="")


def for_header(value: str) -> str:
    """Return a value as a header may have it."""
    return _UNPRINTABLE.sub("?", value)


def fill(text: str, told: Told, escape: Callable[[str], str]) -> str:
    """Return the text with what its placeholders stand for; raises RequestInvalid for others."""

    def value(found: re.Match[str]) -> str:
        known = NAMES.get(found[1])
        if known is None:
            raise _unknown(found[1])
        return escape(known(told))

    return _PLACE.sub(value, text)


def check_names(text: str) -> None:
    """Raise RequestInvalid when there is a placeholder, or the like, of nothing."""
    for found in _LIKE_A_PLACE.finditer(text):
        name = found[0][1:-1]
        if name not in NAMES:
            raise _unknown(name)


def check_places(text: str) -> None:
    """Raise RequestInvalid when the host of a URL would depend on an event."""
    check_names(text)
    if _PLACE.search(text) and _HOST.match(text) is None:
        raise RequestInvalid("a placeholder may stand after the host of a URL, not in it")


def _unknown(name: str) -> RequestInvalid:
    known = ", ".join(f"{{{each}}}" for each in NAMES)
    return RequestInvalid(f"{{{name[:50]}}} stands for nothing; there are {known}")

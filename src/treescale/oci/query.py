"""The query of a URL as RFC 3986 has it: a plus sign is a plus sign.

Forms write a blank as `+` (and `/token` reads its scopes so); no value of the registry API can hold
a blank, but media types end in `+json`, and many clients send that as it is.
"""

import re
from typing import Final
from urllib.parse import unquote, unquote_to_bytes

from treescale.errors import RequestInvalid

_BROKEN: Final = re.compile("%(?![0-9A-Fa-f]{2})")


def query_values(query: str, name: str) -> list[str]:
    """Return all values of a parameter in a raw (still percent-encoded) query, in order.

    Raises RequestInvalid for a value that is not percent-encoded UTF-8. Parameters that are not
    asked for are not looked at: clients add their own.
    """
    if not query:
        return []
    pairs = (word.partition("=") for word in query.split("&"))
    return [_decoded(name, value) for key, _, value in pairs if unquote(key) == name]


def query_pairs(query: str) -> list[tuple[str, str]]:
    """Return all parameters of a raw query, in order; raises RequestInvalid as `query_values`."""
    words = (word.partition("=") for word in query.split("&") if word)
    return [(unquote(key), _decoded(unquote(key)[:100], value)) for key, _, value in words]


def _decoded(name: str, value: str) -> str:
    if _BROKEN.search(value) is None:
        try:
            return unquote_to_bytes(value).decode()
        except ValueError:
            pass
    raise RequestInvalid(f"the value of {name} in the query is not percent-encoded UTF-8")

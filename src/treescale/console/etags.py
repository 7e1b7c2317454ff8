"""Where two might edit: what was seen is named by its ETag, and changed only while it is so.

Looked at in the transaction that writes, so of two who edit the same page one is told. Pure.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import msgspec

from treescale.console.route import Asked
from treescale.errors import PreconditionFailed

Found = TypeVar("Found")
_ANY: Final = "*"


def etag_headers(content: object) -> Mapping[str, str]:
    """Return the header that names an answer by what it says."""
    return {"ETag": _etag(content)}


def if_match(asked: Asked, shown: Callable[[Found], object]) -> Callable[[Found], None] | None:
    """Return what raises PreconditionFailed when the caller has seen something else than is found.

    `shown` is how that is answered. None without If-Match: then anything may be changed.
    """
    wanted = asked.headers.get("If-Match")
    if wanted is None:
        return None
    known = [one.strip() for one in wanted.split(",")]

    def check(found: Found) -> None:
        if _ANY not in known and _etag(shown(found)) not in known:
            raise PreconditionFailed("somebody has changed it since you looked: look again")

    return check


def _etag(content: object) -> str:
    digest = hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()
    return f'"{digest[:32]}"'

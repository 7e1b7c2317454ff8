"""Where two might edit: what was seen is named by its ETag, and changed only while it is so.

Looked at just before the write, so that who edits from an old page is told. Pure.
"""

import hashlib
from collections.abc import Mapping

import msgspec

from treescale.console.route import Asked
from treescale.errors import PreconditionFailed

_ANY = "*"


def etag_headers(content: object) -> Mapping[str, str]:
    """Return the header that names an answer by what it says."""
    return {"ETag": _etag(content)}


def check_if_match(asked: Asked, content: object) -> None:
    """Raise PreconditionFailed when the caller has seen something else than this.

    Without If-Match anything may be changed.
    """
    wanted = asked.headers.get("If-Match")
    if wanted is None:
        return
    known = [one.strip() for one in wanted.split(",")]
    if _ANY not in known and _etag(content) not in known:
        raise PreconditionFailed("somebody has changed it since you looked: look again")


def _etag(content: object) -> str:
    digest = hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()
    return f'"{digest[:32]}"'

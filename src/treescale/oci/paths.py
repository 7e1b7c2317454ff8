"""Which URL means what: the paths under /v2/, read from the right.

Repository names contain slashes and may contain every word used here (`alice/manifests/tags` is
one), so only the end of a path says what it is. A path is percent-decoded once; an encoded slash is
no slash. What comes out has been checked by `fullmatch` and is safe in a query, a log or a header.
"""

import re
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Final

from treescale.errors import NameInvalid, UploadUnknown
from treescale.oci.digest import parse_digest
from treescale.oci.names import check_repository, check_tag

path_characters_max: Final = 4096
paths_remembered: Final = 512
"""Clients ask for the same few paths again and again; at most some 2 MiB of them are kept."""
_ESCAPE: Final = re.compile(r"%([0-9A-Fa-f]{2})?")
_UPLOAD_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")


class RouteKind(Enum):
    """What a URL names."""

    ROOT = "root"
    CATALOG = "catalog"
    MANIFEST = "manifest"
    BLOB = "blob"
    UPLOADS = "uploads"
    UPLOAD = "upload"
    TAGS = "tags"
    REFERRERS = "referrers"


@dataclass(frozen=True, slots=True)
class Route:
    """A URL's meaning. `reference` is a tag, a digest or an upload's id; "" where there is none."""

    kind: RouteKind
    repository: str = ""
    reference: str = ""


@lru_cache(paths_remembered)
def match(path: str) -> Route | None:
    """Return what the raw (still percent-encoded) URL path means; None when it means nothing.

    Raises NameInvalid, TagInvalid, DigestInvalid or UploadUnknown for the part that is wrong.
    """
    if path in ("/v2", "/v2/"):
        return Route(RouteKind.ROOT)
    if not path.startswith("/v2/"):
        return None
    rest = _decode(path[len("/v2/") :])
    if rest == "_catalog":
        return Route(RouteKind.CATALOG)
    return _match_repository(rest.split("/"))


def _match_repository(parts: list[str]) -> Route | None:
    match parts:
        case [*name, "tags", "list"]:
            kind, reference = RouteKind.TAGS, ""
        case [*name, "blobs", "uploads", ""] | [*name, "blobs", "uploads"]:
            kind, reference = RouteKind.UPLOADS, ""
        case [*name, "blobs", "uploads", reference]:
            kind = RouteKind.UPLOAD
        case [*name, "manifests", reference]:
            kind = RouteKind.MANIFEST
        case [*name, "blobs", reference]:
            kind = RouteKind.BLOB
        case [*name, "referrers", reference]:
            kind = RouteKind.REFERRERS
        case _:
            return None
    return Route(kind, check_repository("/".join(name)), _check_reference(kind, reference))


def _check_reference(kind: RouteKind, reference: str) -> str:
    """Return `reference` when something of this kind can be called so."""
    if kind in (RouteKind.UPLOADS, RouteKind.TAGS):
        return ""
    if kind is RouteKind.UPLOAD:
        if _UPLOAD_ID.fullmatch(reference) is None:
            raise UploadUnknown("no such upload")
        return reference
    if kind is RouteKind.MANIFEST and ":" not in reference:  # no tag has a colon
        return check_tag(reference)
    return str(parse_digest(reference))


def _decode(text: str) -> str:
    """Return `text` percent-decoded once, when it is ASCII then and no slash was hidden in it."""
    if len(text) > path_characters_max:
        raise NameInvalid(f"a path has at most {path_characters_max} characters")
    decoded = _ESCAPE.sub(_character, text)
    if not (decoded.isascii() and decoded.isprintable()):
        raise NameInvalid("names, tags and digests are printable ASCII")
    return decoded


def _character(escape: re.Match[str]) -> str:
    """Return the character an escape stands for."""
    if escape[1] is None or escape[1] in ("2F", "2f"):
        raise NameInvalid("the path has a broken percent escape or an encoded slash")
    return chr(int(escape[1], 16))

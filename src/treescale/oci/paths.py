"""Which URL means what: the paths under /v2/, read from the right.

Repository names contain slashes and may contain every word used here (`alice/manifests/tags` is
one), so only the end of a path says what it is. As distribution does, a path is percent-decoded
once before it is looked at, so an encoded slash is a slash; and one slash at the end is passed
over. What comes out has been checked by `fullmatch` and is safe in a query, a log or a header.

A tag that cannot exist, and a digest by an algorithm that is not kept, are not there for those who
read, and wrong for those who write: the path alone does not say which.
"""

import re
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Final

from treescale.errors import NameInvalid, UploadUnknown
from treescale.oci.digest import is_foreign_digest, parse_digest
from treescale.oci.names import check_repository, is_tag

PATH_CHARACTERS_MAX: Final = 4096
PATHS_REMEMBERED: Final = 512
"""Clients ask for the same few paths again and again; at most some 2 MiB of them are kept."""
_ESCAPE: Final = re.compile(r"%([0-9A-Fa-f]{2})?")
_UPLOAD_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")


class ResourceKind(Enum):
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
class Resource:
    """A URL's meaning. `reference` is a tag, a digest or an upload's id; "" where there is none.

    Nothing can have the name of an impossible one: its `reference` is "" or a foreign digest.
    """

    kind: ResourceKind
    repository: str = ""
    reference: str = ""
    possible: bool = True


@lru_cache(PATHS_REMEMBERED)
def parse_path(path: str) -> Resource | None:
    """Return what the raw (still percent-encoded) URL path means; None when it means nothing.

    Raises NameInvalid, DigestInvalid or UploadUnknown for the part that is wrong.
    """
    if path in ("/v2", "/v2/"):
        return Resource(ResourceKind.ROOT)
    if not path.startswith("/v2/"):
        return None
    rest = _decode(path[len("/v2/") :]).removesuffix("/")
    if rest == "_catalog":
        return Resource(ResourceKind.CATALOG)
    return _match_repository(rest.split("/"))


def _match_repository(parts: list[str]) -> Resource | None:
    match parts:
        case [*name, "tags", "list"]:
            kind, reference = ResourceKind.TAGS, ""
        case [*name, "blobs", "uploads"]:
            kind, reference = ResourceKind.UPLOADS, ""
        case [*name, "blobs", "uploads", reference]:
            kind = ResourceKind.UPLOAD
        case [*name, "manifests", reference]:
            kind = ResourceKind.MANIFEST
        case [*name, "blobs", reference]:
            kind = ResourceKind.BLOB
        case [*name, "referrers", reference]:
            kind = ResourceKind.REFERRERS
        case _:
            return None
    return _with_reference(kind, check_repository("/".join(name)), reference)


def _with_reference(kind: ResourceKind, repository: str, reference: str) -> Resource:
    if kind in (ResourceKind.UPLOADS, ResourceKind.TAGS):
        return Resource(kind, repository)
    if kind is ResourceKind.UPLOAD:
        if _UPLOAD_ID.fullmatch(reference) is None:
            raise UploadUnknown("no such upload")
        return Resource(kind, repository, reference)
    if kind is ResourceKind.MANIFEST and ":" not in reference:  # no tag has a colon
        if not is_tag(reference):
            return Resource(kind, repository, possible=False)
        return Resource(kind, repository, reference)
    if kind is not ResourceKind.REFERRERS and is_foreign_digest(reference):
        return Resource(kind, repository, reference, possible=False)
    return Resource(kind, repository, str(parse_digest(reference)))


def _decode(text: str) -> str:
    """Return `text` percent-decoded once, when it is printable ASCII then."""
    if len(text) > PATH_CHARACTERS_MAX:
        raise NameInvalid(f"a path has at most {PATH_CHARACTERS_MAX} characters")
    decoded = _ESCAPE.sub(_character, text)
    if not (decoded.isascii() and decoded.isprintable()):
        raise NameInvalid("names, tags and digests are printable ASCII")
    return decoded


def _character(escape: re.Match[str]) -> str:
    """Return the character an escape stands for."""
    if escape[1] is None:
        raise NameInvalid("the path has a broken percent escape")
    return chr(int(escape[1], 16))

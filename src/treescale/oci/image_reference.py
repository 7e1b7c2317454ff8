"""How people write an image: NAME, NAME:TAG or NAME@DIGEST. Pure."""

from dataclasses import dataclass

from treescale.errors import RequestInvalid
from treescale.oci.digest import parse_digest
from treescale.oci.names import check_repository, check_tag


@dataclass(frozen=True, slots=True)
class ImageReference:
    """A repository, or with a tag or a digest something in it."""

    name: str
    tag: str | None = None
    digest: str | None = None

    def __str__(self) -> str:
        if self.tag is not None:
            return f"{self.name}:{self.tag}"
        return self.name if self.digest is None else f"{self.name}@{self.digest}"


def parse_reference(text: str) -> ImageReference:
    """Return what the text names; raises NameInvalid, TagInvalid, DigestInvalid, RequestInvalid."""
    name, at, digest = text.partition("@")
    path, slash, last = name.rpartition("/")
    last, colon, tag = last.partition(":")
    name = check_repository(path + slash + last)
    if colon and at:
        raise RequestInvalid(f"say {name}:{tag} or {name}@{digest}, not both at once")
    if at:
        return ImageReference(name, digest=str(parse_digest(digest)))
    return ImageReference(name, tag=check_tag(tag)) if colon else ImageReference(name)

"""What was acknowledged: repositories, their images and tags, and what of them is deleted."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.functional.wire import written
from tests.images import sha256_of
from tests.soak.content import Layer

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


@dataclass
class Image:
    """A manifest that was pushed."""

    body: bytes
    kind: str
    layers: tuple[Layer, ...] = ()
    children: tuple[str, ...] = ()
    subject: str = ""
    live: bool = True
    epoch: int = 0
    """Odd while it may be there or not; it grows with whatever takes it away, or brings it back."""
    deleted: float = 0.0
    """When, at the earliest: of the clock that only grows."""
    went_with: tuple[str, ...] = ()
    """Referrers that went with it."""
    tags_gone: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Return its name."""
        return sha256_of(self.body)


@dataclass
class Repository:
    """What one repository has, and what was deleted in it."""

    name: str
    images: dict[str, Image] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    cut: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Tags that were deleted: what they pointed at, and when."""
    deleted: float = 0.0

    def live(self) -> list[Image]:
        """Return the images that can be pulled."""
        return [image for image in self.images.values() if image.live]

    def doubt(self) -> None:
        """Note that from now on what is there may go, or may come back."""
        for image in self.images.values():
            image.epoch |= 1

    def settle(self) -> None:
        """Note that all is as it is said here."""
        for image in self.images.values():
            image.epoch = (image.epoch | 1) + 1

    def referred(self, digest: str) -> bool:
        """Say whether a live image has this blob."""
        return any(layer.digest == digest for image in self.live() for layer in image.layers)

    def in_an_index(self, digest: str) -> bool:
        """Say whether a live index lists this image."""
        return any(digest in image.children for image in self.live())

    def going_with(self, digest: str) -> tuple[str, ...]:
        """Return the referrers that go with an image: those that have no tag, and theirs."""
        tagged = set(self.tags.values())
        found: list[str] = []
        left = [digest]
        while left:
            subject = left.pop()
            for image in self.live():
                gone = image.subject == subject and image.digest not in tagged
                if gone and not self.in_an_index(image.digest):
                    found.append(image.digest)
                    left.append(image.digest)
        return tuple(found)

    def delete(self, digest: str, began: float) -> None:
        """Note that an image was deleted, with what goes with it."""
        image, gone = self.images[digest], self.going_with(digest)
        image.went_with = gone
        image.tags_gone = tuple(tag for tag, at in self.tags.items() if at == digest)
        for each in (digest, *gone):
            self.images[each].live = False
            self.images[each].deleted = began
        self.tags = {tag: at for tag, at in self.tags.items() if at != digest}
        for tag in image.tags_gone:
            self.cut.pop(tag, None)

    def bring_back(self, digest: str) -> None:
        """Note that an image was restored."""
        image = self.images[digest]
        for each in (digest, *image.went_with):
            self.images[each].live = True
        for tag in image.tags_gone:
            self.tags.setdefault(tag, digest)


def image_of(
    layers: tuple[Layer, ...], config: Layer, *, subject: Image | None = None, mark: int = 0
) -> Image:
    """Return an image of these layers; `subject` is what it is about."""
    document: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _descriptor("application/vnd.oci.empty.v1+json", config),
        "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar", x) for x in layers],
        "annotations": {"mark": str(mark)},
    }
    if subject is not None:
        document["subject"] = _listed(subject)
        document["artifactType"] = "application/vnd.example.sbom"
    about = "" if subject is None else subject.digest
    return Image(written(document), MANIFEST, (config, *layers), subject=about)


def index_of(children: list[Image]) -> Image:
    """Return an index of these images."""
    listed = [_listed(each) for each in children]
    body = written({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed})
    return Image(body, INDEX, children=tuple(each.digest for each in children))


def _listed(image: Image) -> dict[str, object]:
    return {"mediaType": image.kind, "digest": image.digest, "size": len(image.body)}


def _descriptor(kind: str, layer: Layer) -> dict[str, object]:
    return {"mediaType": kind, "digest": layer.digest, "size": len(layer.data)}


@dataclass
class Lane:
    """The repositories that one client alone changes, so that what is right is always known."""

    name: str
    here: dict[str, Repository] = field(default_factory=dict)
    gone: dict[str, Repository] = field(default_factory=dict)
    """The last of each name that was deleted."""

    def repositories(self) -> Iterator[Repository]:
        """Yield those that are there."""
        yield from list(self.here.values())

    def of(self, number: int) -> Repository:
        """Return a repository, which begins with the first push."""
        name = f"admin/{self.name}-{number}"
        return self.here.get(name) or Repository(name)

    def delete(self, repository: Repository, began: float) -> None:
        """Note that a repository was deleted."""
        repository.deleted = began
        self.gone[repository.name] = self.here.pop(repository.name)

    def bring_back(self, repository: Repository) -> None:
        """Note that it was restored."""
        self.here[repository.name] = self.gone.pop(repository.name)


def age(since: float) -> float:
    """Return how long ago that was, at the most."""
    return time.monotonic() - since

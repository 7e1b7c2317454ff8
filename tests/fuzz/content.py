"""The blobs and manifests that the model and its registry play with. Always the same ones."""

import hashlib
from dataclasses import dataclass, field
from typing import Final

from tests.oci.documents import (
    DOCKER_CONFIG,
    DOCKER_FOREIGN,
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Document,
    descriptor,
    encoded,
    image,
    index,
)
from tests.oci.documents import digest as sha256


def noise(name: str, size: int) -> bytes:
    """Return bytes that no compression and no cutting finds anything in."""
    return hashlib.shake_128(name.encode()).digest(size)


BLOBS: Final = {
    "empty": b"",
    "two bytes": b"{}",
    "a layer": b"a layer",
    "64 KiB": noise("kept in the database, just", 64 * 1024),
    "one more": noise("a chunk, just", 64 * 1024 + 1),
    "2.5 MB": noise("several chunks", 2_500_000),
}
EMPTY, CONFIG, LAYER, _, CHUNK, LARGE = BLOBS.values()
NEVER_PUSHED: Final = b"nobody has this"


@dataclass(frozen=True)
class Sample:
    """A manifest's bytes, and what a registry must make of them; `code` when it refuses them."""

    name: str
    payload: bytes = field(repr=False)
    media_type: str = field(repr=False)
    required: tuple[str, ...] = field(default=(), repr=False)
    subject: str | None = field(default=None, repr=False)
    artifact_type: str | None = field(default=None, repr=False)
    annotations: dict[str, str] = field(default_factory=dict, repr=False)
    code: str = field(default="", repr=False)

    def digest(self, algorithm: str = "sha256") -> str:
        """Return what it is called by."""
        return f"{algorithm}:{hashlib.new(algorithm, self.payload).hexdigest()}"


def _sample(name: str, document: Document, *blobs: bytes, code: str = "") -> Sample:
    subject = document.get("subject")
    config = document.get("config", {}).get("mediaType")
    return Sample(
        name,
        encoded(document),
        document["mediaType"],
        tuple(sha256(blob) for blob in blobs),
        subject=subject["digest"] if subject else None,
        artifact_type=document.get("artifactType") or config,
        annotations=document.get("annotations", {}),
        code=code,
    )


_FIRST: Final = image(descriptor(LAYER))
_SECOND: Final = image(descriptor(EMPTY), descriptor(LARGE), annotations={"of": "two"})
_DOCKER: Final = {
    "schemaVersion": 2,
    "mediaType": DOCKER_MANIFEST,
    "config": descriptor(CONFIG, DOCKER_CONFIG),
    "layers": [
        descriptor(CHUNK, DOCKER_LAYER),
        descriptor(NEVER_PUSHED, DOCKER_FOREIGN, urls=["https://elsewhere.example/layer"]),
    ],
}
_SUBJECT: Final = descriptor(encoded(_FIRST), OCI_MANIFEST)
_LIST: Final = index(_SUBJECT, descriptor(encoded(_SECOND), OCI_MANIFEST))
_ARTIFACT: Final = image(
    config=descriptor(CONFIG, "application/vnd.oci.empty.v1+json"),
    artifactType="application/x.bill",
    subject=_SUBJECT,
    annotations={"made": "by hand", "ünd": "☃"},
)
_AMBIGUOUS: Final = {**_FIRST, "manifests": []}
SAMPLES: Final = (
    _sample("image", _FIRST, CONFIG, LAYER),
    _sample("two layers", _SECOND, CONFIG, EMPTY, LARGE),
    _sample("Docker's", _DOCKER, CONFIG, CHUNK),
    _sample("list", _LIST),
    _sample("bill", _ARTIFACT, CONFIG),
    _sample("referrer", image(subject=_SUBJECT), CONFIG),
    _sample("index of nothing", index(subject=_SUBJECT, annotations={"is": "an index"})),
    _sample("referrer of the list", image(subject=descriptor(encoded(_LIST), OCI_INDEX)), CONFIG),
    _sample("cache", index(descriptor(LAYER, OCI_LAYER)), LAYER),
    _sample("incomplete", image(descriptor(NEVER_PUSHED)), CONFIG, NEVER_PUSHED),
    _sample("artifact", image(config=descriptor(b"{}", OCI_CONFIG), artifactType="a/b"), CONFIG),
    _sample("ambiguous", _AMBIGUOUS, code="MANIFEST_INVALID"),
    Sample("broken", b'{"schemaVersion":2', OCI_MANIFEST, code="MANIFEST_INVALID"),
)
SUBJECTS: Final = (sha256(encoded(_FIRST)), sha256(encoded(_LIST)), sha256(b"nothing"))

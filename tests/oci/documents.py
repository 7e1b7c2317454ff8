"""Manifests to test with: small builders of the documents clients send."""

import json
from hashlib import sha256
from typing import Any, Final

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
OCI_LAYER: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_EMPTY: Final = "application/vnd.oci.empty.v1+json"
OCI_ARTIFACT: Final = "application/vnd.oci.artifact.manifest.v1+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_FOREIGN: Final = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"

Document = dict[str, Any]


def digest(data: bytes) -> str:
    """Return the sha256 digest of `data` as the wire spells it."""
    return "sha256:" + sha256(data).hexdigest()


def descriptor(data: bytes, media_type: str = OCI_LAYER, /, **more: Any) -> Document:
    """Return a descriptor of `data`."""
    return {"mediaType": media_type, "digest": digest(data), "size": len(data), **more}


def image(*layers: Document, config: Document | None = None, **more: Any) -> Document:
    """Return an OCI image manifest, of an empty configuration; `more` replaces or adds fields."""
    return {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(b"{}", OCI_CONFIG) if config is None else config,
        "layers": list(layers),
        **more,
    }


def index(*manifests: Document, **more: Any) -> Document:
    """Return an OCI index."""
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(manifests), **more}


def encoded(document: Document) -> bytes:
    """Return the bytes of a document."""
    return json.dumps(document).encode()

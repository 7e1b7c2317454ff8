"""An image of two platforms with an attestation inside, signed twice; a chart; hostile words."""

import json
from dataclasses import dataclass
from typing import Any

from tests.api.client import Repository
from tests.oci.documents import (
    OCI_CONFIG,
    OCI_EMPTY,
    OCI_INDEX,
    OCI_MANIFEST,
    Document,
    descriptor,
    digest,
    encoded,
    image,
    index,
)

HOSTILE = """"><script>alert(1)</script>'{{7*7}}<img src=x onerror=alert(1)>"""
HELM = "application/vnd.cncf.helm.config.v1+json"
COSIGN = "application/vnd.dev.cosign.artifact.sig.v1+json"
PREDICATE = "in-toto.io/predicate-type"


@dataclass(frozen=True)
class Pushed:
    """The digests of what was pushed."""

    index: str
    amd64: str
    arm64: str
    attestation: str
    hostile: str


async def push_all(repository: Repository) -> Pushed:
    """Push it: `2.0` and `latest` the index, `1.10` the hostile one, `1.9` a plain one, a chart."""
    amd64 = await push(repository, "amd64", b"a layer of amd64")
    arm64 = await push(repository, "arm64", b"a larger layer of arm64" * 9, variant="v8")
    attestation = await attest(repository, amd64)
    top = index(
        descriptor(amd64, OCI_MANIFEST, platform={"os": "linux", "architecture": "amd64"}),
        descriptor(
            arm64, OCI_MANIFEST, platform={"os": "linux", "architecture": "arm64", "variant": "v8"}
        ),
        descriptor(
            attestation,
            OCI_MANIFEST,
            platform={"os": "unknown", "architecture": "unknown"},
            annotations={
                "vnd.docker.reference.type": "attestation-manifest",
                "vnd.docker.reference.digest": digest(amd64),
            },
        ),
        annotations={"org.example.note": HOSTILE},
    )
    for tag in ("2.0", "latest"):
        (await repository.put_manifest(top, tag)).expect(201)
    await say(repository, descriptor(encoded(top), OCI_INDEX), COSIGN)
    hostile = await push(repository, HOSTILE, b"hostile", env=[f"A={HOSTILE}"], tag="1.10")
    await push(repository, "amd64", b"a layer of amd64", tag="1.9")
    await chart(repository)
    return Pushed(*(digest(one) for one in (encoded(top), amd64, arm64, attestation, hostile)))


async def push(
    repository: Repository,
    architecture: str,
    layer: bytes,
    *,
    variant: str = "",
    env: list[str] | None = None,
    tag: str | None = None,
) -> bytes:
    """Push an image; return its manifest."""
    words = {"Env": env or ["A=b"], "Cmd": ["/run"], "Labels": {HOSTILE: HOSTILE}, "User": "1000"}
    config = json.dumps(
        {
            "os": "linux",
            "architecture": architecture,
            "variant": variant,
            "config": words,
            "history": [{"created_by": f"RUN {HOSTILE}"}, {"created_by": "X", "empty_layer": True}],
        }
    ).encode()
    for blob in (config, layer):
        await repository.push_blob(blob)
    document = encoded(image(descriptor(layer), config=descriptor(config, OCI_CONFIG)))
    (await repository.put_manifest(document, tag)).expect(201)
    return document


async def attest(repository: Repository, of: bytes) -> bytes:
    """Push what BuildKit attests of an image."""
    statement = b'{"of": "' + digest(of).encode() + b'"}'
    for blob in (b"{}", statement):
        await repository.push_blob(blob)
    kind = "application/vnd.in-toto+json"
    layers = [
        descriptor(statement, kind, annotations={PREDICATE: "https://spdx.dev/Document"}),
        descriptor(statement, kind, annotations={PREDICATE: "https://slsa.dev/provenance/v1"}),
    ]
    document = encoded(image(*layers, config=descriptor(b"{}", OCI_CONFIG)))
    (await repository.put_manifest(document)).expect(201)
    return document


async def say(repository: Repository, subject: Document, kind: str) -> None:
    """Push something that is said of an image."""
    await repository.push_blob(b"{}")
    more: dict[str, Any] = {
        "subject": subject,
        "artifactType": kind,
        "annotations": {"org.example.said": HOSTILE},
        "config": descriptor(b"{}", OCI_EMPTY),
    }
    document = image(descriptor(b"{}", OCI_EMPTY)) | more
    (await repository.put_manifest(document)).expect(201)


async def chart(repository: Repository) -> None:
    """Push a chart."""
    for blob in (b'{"name": "chart"}', b"a chart"):
        await repository.push_blob(blob)
    config = descriptor(b'{"name": "chart"}', HELM)
    (await repository.put_manifest(image(descriptor(b"a chart"), config=config), "chart")).expect(
        201
    )

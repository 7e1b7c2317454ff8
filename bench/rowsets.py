"""Databases with many rows, written straight through the schema: what no client would push.

The server makes the database and its first rows; it is stopped while it is filled.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Table, create_engine, insert, select, text

from treescale.config import DATABASE_FILE
from treescale.metadata import schema
from treescale.oci.versions import version_key

OWNER: Final = "admin"
BATCH_ROWS: Final = 20_000
_EMPTY_INDEX: Final = b'{"schemaVersion":2,"manifests":[]}'
_INDEX_TYPE: Final = "application/vnd.oci.image.index.v1+json"

Values = Mapping[str, Any]


def add_blobs(directory: Path, count: int) -> None:
    """Add blobs of a few bytes, each linked into one repository."""
    with _connection(directory) as connection:
        _add(connection, schema.repositories, [_repository(1, f"{OWNER}/blobs")])
        digests = (f"sha256:{hashlib.sha256(b'%d' % n).hexdigest()}" for n in range(count))
        rows = [(number, digest) for number, digest in enumerate(digests, 1)]
        _add(
            connection,
            schema.blobs,
            ({"blob_id": n, "digest": d, "size": 2, "inline": b"{}"} for n, d in rows),
        )
        _add(
            connection,
            schema.repository_blobs,
            ({"repository_id": 1, "digest": d, "blob_id": n, "lease_until": 0.0} for n, d in rows),
        )


def add_tags(directory: Path, tags: int, repositories: int) -> None:
    """Add one repository (…/large) with so many tags, and repositories with one tag each."""
    with _connection(directory) as connection:
        names = [f"{OWNER}/large", *(f"{OWNER}/r{n:07}" for n in range(1, repositories))]
        numbers = range(1, len(names) + 1)
        _add(
            connection,
            schema.repositories,
            (_repository(n, name) for n, name in zip(numbers, names, strict=True)),
        )
        _add(connection, schema.manifests, (_manifest(n) for n in numbers))
        _add(connection, schema.tags, (_tag(1, f"t{n:07}") for n in range(tags)))
        _add(connection, schema.tags, (_tag(n, "latest") for n in numbers[1:]))


@contextmanager
def _bare(connection: Connection) -> Iterator[None]:
    """Do without triggers and indexes meanwhile: each row would cost a dozen others."""
    kept = connection.execute(
        text("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL AND type <> 'table'")
    ).all()
    for kind, name, _ in kept:
        connection.execute(text(f"DROP {kind} {name}"))
    yield
    for _, _, statement in sorted(kept):
        connection.exec_driver_sql(statement)


def _connection(directory: Path) -> Any:
    return create_engine(f"sqlite:///{directory / DATABASE_FILE}").begin()


def _add(connection: Connection, table: Table, rows: Iterable[Values]) -> None:
    waiting: Iterator[Values] = iter(rows)
    while batch := list(islice(waiting, BATCH_ROWS)):
        connection.execute(insert(table), batch)


def _repository(number: int, name: str) -> Values:
    return {
        "repository_id": number,
        "name": name,
        "namespace": OWNER,
        "public": False,
        "created": 0.0,
    }


def _manifest(repository: int) -> Values:
    return {
        "repository_id": repository,
        "digest": f"sha256:{hashlib.sha256(_EMPTY_INDEX).hexdigest()}",
        "media_type": _INDEX_TYPE,
        "size": len(_EMPTY_INDEX),
        "annotations_bytes": 0,
        "pushed": 0.0,
        "annotations": "{}",
        "payload": _EMPTY_INDEX,
    }


def _tag(repository: int, name: str) -> Values:
    digest = f"sha256:{hashlib.sha256(_EMPTY_INDEX).hexdigest()}"
    return {"repository_id": repository, "name": name, "digest": digest, "updated": 0.0}


SHOWN_IMAGES: Final = 1000
"""Of each platform; indexes are made of these."""
SHOWN_INDEXES: Final = 50_000
_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
_LAYERS: Final = 12


def add_shown(directory: Path, tags: int, repositories: int) -> None:
    """Add what pages show: as `add_tags`, with images of two platforms, attested and signed.

    `…/large` has tags as versions, of 50,000 indexes; the others have one each.
    """
    with _connection(directory) as connection, _bare(connection):
        names = [f"{OWNER}/large", *(f"{OWNER}/r{n:07}" for n in range(1, repositories))]
        numbers = range(1, len(names) + 1)
        namespace = connection.execute(
            select(schema.namespaces.c.namespace_id).where(schema.namespaces.c.name == OWNER)
        ).scalar_one()
        owned = {"namespace_id": namespace}
        rows = ({**_repository(n, name), **owned} for n, name in zip(numbers, names, strict=True))
        _add(connection, schema.repositories, rows)
        _add(connection, schema.manifests, (_manifest(n) for n in numbers))
        images = [(_image("amd64", n), _image("arm64", n)) for n in range(SHOWN_IMAGES)]
        attested = [_attestation(n) for n in range(SHOWN_IMAGES)]
        parts = [one for pair in images for one in pair] + attested
        _add(connection, schema.manifests, (_shown(one, _MANIFEST) for one in parts))
        indexes = [
            _index(images[n % SHOWN_IMAGES], attested[n % SHOWN_IMAGES], n)
            for n in range(SHOWN_INDEXES)
        ]
        _add(connection, schema.manifests, (_shown(one, _INDEX_TYPE) for one in indexes))
        digests = [_digest(one) for one in indexes]
        _add(connection, schema.manifests, (_signature(one) for one in digests))
        versions = (f"{n // 10_000}.{n // 100 % 100}.{n % 100}" for n in range(tags))
        _add(
            connection,
            schema.tags,
            (
                {
                    **_tag(1, tag),
                    "digest": digests[n % SHOWN_INDEXES],
                    "updated": float(n),
                    "version_key": version_key(tag),
                    "pushed_by": OWNER,
                }
                for n, tag in enumerate(versions)
            ),
        )
        key = {"version_key": version_key("latest")}
        _add(connection, schema.tags, ({**_tag(n, "latest"), **key} for n in numbers[1:]))
        kept = (
            {"repository_id": n, "bytes": n, "blobs": 1, "tags": 1, "pushed": n} for n in numbers
        )
        _add(connection, schema.repository_usage, kept)


def _image(architecture: str, number: int) -> bytes:
    layers = [
        {
            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
            "digest": _digest(f"{architecture}{number}{layer}".encode()),
            "size": 1_000_000 + layer,
        }
        for layer in range(_LAYERS)
    ]
    config = {
        "mediaType": "application/vnd.oci.image.config.v1+json",
        "digest": _digest(f"{architecture}{number}".encode()),
        "size": 5000,
    }
    return _encoded({"mediaType": _MANIFEST, "config": config, "layers": layers})


def _attestation(number: int) -> bytes:
    layers = [
        {
            "mediaType": "application/vnd.in-toto+json",
            "digest": _digest(f"{kind}{number}".encode()),
            "size": 20_000,
            "annotations": {"in-toto.io/predicate-type": kind},
        }
        for kind in ("https://spdx.dev/Document", "https://slsa.dev/provenance/v0.2")
    ]
    return _encoded({"mediaType": _MANIFEST, "layers": layers})


def _index(images: tuple[bytes, bytes], attestation: bytes, number: int) -> bytes:
    parts = [
        _part(image, {"os": "linux", "architecture": architecture})
        for image, architecture in zip(images, ("amd64", "arm64"), strict=True)
    ]
    attested = _part(attestation, {"os": "unknown", "architecture": "unknown"})
    attested["annotations"] = {
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": _digest(images[0]),
    }
    note = {"org.opencontainers.image.version": str(number)}
    return _encoded(
        {"mediaType": _INDEX_TYPE, "manifests": [*parts, attested], "annotations": note}
    )


def _part(manifest: bytes, platform: Values) -> dict[str, Any]:
    return {
        "mediaType": _MANIFEST,
        "digest": _digest(manifest),
        "size": len(manifest),
        "platform": platform,
    }


def _shown(payload: bytes, media_type: str) -> Values:
    return {
        **_manifest(1),
        "digest": _digest(payload),
        "media_type": media_type,
        "size": len(payload),
        "payload": payload,
        "subject": None,
        "artifact_type": None,
    }


def _signature(subject: str) -> Values:
    kind = "application/vnd.dev.cosign.artifact.sig.v1+json"
    payload = _encoded(
        {
            "mediaType": _MANIFEST,
            "artifactType": kind,
            "layers": [],
            "subject": {"mediaType": _INDEX_TYPE, "digest": subject, "size": 1},
        }
    )
    return {**_shown(payload, _MANIFEST), "subject": subject, "artifact_type": kind}


def _encoded(document: Values) -> bytes:
    return json.dumps({"schemaVersion": 2, **document}).encode()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"

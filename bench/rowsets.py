"""Databases with many rows, written straight through the schema: what no client would push.

The server makes the database and its first rows; it is stopped while it is filled.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Table, create_engine, insert

from treescale.config import DATABASE_FILE
from treescale.metadata import schema

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

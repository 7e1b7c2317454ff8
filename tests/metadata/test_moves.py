"""Moves, copies, retention and collection at once on PostgreSQL: nothing that is named is lost."""

import asyncio
import json
import random  # noqa: TID251  from a seed
from contextlib import suppress
from typing import Final

import pytest
from sqlalchemy import select

from tests.contracts.metadata_quotas import MUCH, count, give, kept, naive, push
from tests.contracts.metadata_rules import rule
from tests.contracts.metadata_usage import anew
from tests.contracts.metadata_usage import kept as sizes_kept
from tests.contracts.metadata_values import ACTOR, NOW, digest, user
from treescale.clock import SystemClock
from treescale.errors import Refused, TreeScaleError
from treescale.lease_times import LEASE_SETTING, UNDELETE_SETTING, stored
from treescale.metadata.collection.rows import RowCollector
from treescale.metadata.collection.undelete import Undelete
from treescale.metadata.database import Database, open_database
from treescale.metadata.engine import postgresql
from treescale.metadata.engine.errors import is_retryable
from treescale.metadata.naming.moves import Moves
from treescale.metadata.records import Manifest
from treescale.metadata.retention.rules import Rules
from treescale.metadata.rules.records import THE_CLUSTER, RuleKind, Saying
from treescale.metadata.schema import (
    manifest_references,
    manifests,
    repositories,
    repository_blobs,
)
from treescale.metadata.usage.counting import UsageCounter
from treescale.metadata.usage.quotas import BYTES
from treescale.oci.digest import digest_of
from treescale.oci.manifests import ReferenceKind, parse_manifest
from treescale.registry.naming.copies import CopyService
from treescale.registry.rules.runner import Retention

SECONDS_MAX: Final = 120
NAMES: Final = [f"{namespace}/{name}" for namespace in ("alice", "bob") for name in "abc"]
IMAGE: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX: Final = "application/vnd.oci.image.index.v1+json"


def made(body: dict[str, object], media_type: str) -> Manifest:
    payload = json.dumps({"schemaVersion": 2, "mediaType": media_type, **body}).encode()
    return Manifest(str(digest_of(payload)), media_type, payload, None, None)


def described(media_type: str, name: str, size: int) -> dict[str, object]:
    return {"mediaType": media_type, "digest": name, "size": size}


async def put(database: Database, name: str, it: Manifest, *tags: str) -> None:
    found = parse_manifest(it.payload, it.media_type).references
    await database.manifests.put(name, it, found, tags, now=NOW, actor=ACTOR)


async def push_index(database: Database, chance: random.Random) -> None:
    """Push an index of two images as a client does: blobs, images, index, tag."""
    name, parts = chance.choice(NAMES), []
    for number in chance.sample(range(6), 2):
        await push(database, number, 50 + number, name)
        layer = described("application/octet-stream", digest(number), 50 + number)
        image = made({"config": layer, "layers": []}, IMAGE)
        await put(database, name, image)
        parts.append(described(IMAGE, image.digest, len(image.payload)))
    await put(database, name, made({"manifests": parts}, INDEX), chance.choice("xyz"))


async def copy(database: Database, chance: random.Random) -> None:
    service = CopyService(database, SystemClock())
    source, target = chance.choices(NAMES, k=2)
    await service.copy(source, chance.choice("xyz"), target, chance.choice("xyz"), actor=ACTOR)


async def move(database: Database, chance: random.Random) -> None:
    old, new = chance.sample(NAMES, 2)
    await Moves(database).move(old, new, actor=ACTOR)


async def tidy(database: Database, chance: random.Random) -> None:
    async def may() -> bool:
        return True

    rules = Rules(database.connections)
    with suppress(Refused):
        await Retention(database, SystemClock(), may).repository(
            await rules.repository(chance.choice(NAMES))
        )


async def remove(database: Database, chance: random.Random) -> None:
    name = chance.choice(NAMES)
    if chance.random() < 0.3:
        await database.repositories.delete(name, actor=ACTOR)
        await Undelete(database.connections).repository(name, to=chance.choice(NAMES), actor=ACTOR)
    else:
        top = await database.manifests.resolve(name, chance.choice("xyz"))
        await database.manifests.delete(name, top.digest, actor=ACTOR)


async def collect(database: Database, _: random.Random) -> None:
    await RowCollector(database.connections).cycle()
    await UsageCounter(database.connections).count()


ACTS: Final = (push_index,) * 4 + (copy,) * 3 + (move,) * 2 + (tidy,) * 2 + (remove, collect)


@pytest.mark.parametrize("seed", [1])
async def test_all_at_once_what_a_manifest_names_is_there(
    postgres_url: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    undone: list[str] = []

    def noted(error: Exception) -> bool:
        undone.append(str(error))
        return is_retryable(error)

    monkeypatch.setattr(postgresql, "is_retryable", noted)
    database = [open_database(postgres_url) for _ in range(3)]
    for name in ("alice", "bob"):
        await database[0].users.add(user(name), actor=ACTOR)
        await give(database[0], BYTES, MUCH, name)
    keep = await rule(database[0], THE_CLUSTER, Saying(RuleKind.RETENTION, keep_last=1))
    await Rules(database[0].connections).arm(THE_CLUSTER, [keep], actor=ACTOR)
    await database[0].settings.put(LEASE_SETTING, "0s")
    await database[0].settings.put(UNDELETE_SETTING, stored(0))

    async def act(number: int) -> None:
        chance, one = random.Random(f"{seed} {number}"), database[number % 3]  # noqa: S311
        for _ in range(40):
            with suppress(TreeScaleError):
                await chance.choice(ACTS)(one, chance)

    async with asyncio.timeout(SECONDS_MAX), asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(act(number))
    assert undone == [], "a deadlock"
    await count(database[0])
    assert await kept(database[0]) == await naive(database[0])
    assert await sizes_kept(database[0]) == await anew(database[0])
    assert await missing(database[0]) == []
    for each in database:
        await each.close()


async def missing(database: Database) -> list[tuple[int, str, str]]:
    """Return what live manifests name and their repositories have not."""
    rows = database.connections.rows
    live = {row.repository_id for row in await rows(select(repositories)) if not row.deleted}
    there = {
        (row.repository_id, row.digest)
        for row in await rows(select(repository_blobs))
        if row.hidden is None
    }
    named = {
        (row.repository_id, row.digest)
        for row in await rows(select(manifests))
        if row.deleted is None and row.repository_id in live
    }
    return [
        (row.repository_id, row.manifest, row.digest)
        for row in await rows(select(manifest_references))
        if (row.repository_id, row.manifest) in named
        and row.kind == str(ReferenceKind.BLOB)  # an index may leave parts out
        and (row.repository_id, row.digest) not in there | named
    ]

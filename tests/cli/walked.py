"""Two stopped servers of this machine, whose stores commands walk by themselves."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random  # noqa: TID251  seeded
from typing import Any

import pytest
import structlog

from tests.cli.conftest import Command
from tests.contracts.metadata_values import ACTOR, NOW, digest
from treescale import log
from treescale.chunks.disk.store import DiskStore
from treescale.chunks.format.recipe import Recipe, encode
from treescale.chunks.format.split import DEFAULT
from treescale.chunks.store import chunk_id_of
from treescale.clock import SystemClock
from treescale.cluster.membership import Membership, join
from treescale.maintenance import following, jobs
from treescale.metadata.database import Database
from treescale.metadata.records import Blob, NewBlob, ServerRecord, StoreRecord, StoreReport

DATA = [Random(seed).randbytes(5000) for seed in range(6)]  # noqa: S311


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait long."""
    monkeypatch.setattr(following, "SILENT_SECONDS", 1.0)
    monkeypatch.setattr(following, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(jobs, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(jobs, "TURN_SECONDS", 0.1)
    monkeypatch.setattr(jobs, "ATTEMPTS_MAX", 1)


@pytest.fixture(autouse=True)
def own_log(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the commands set up their log as in a process of their own."""
    before = structlog.get_config()
    monkeypatch.setattr(log, "_lines", None)
    yield
    structlog.configure(**before)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as threads:
        yield threads


@pytest.fixture
def pair(command: Command, threads: ThreadPoolExecutor) -> Command:
    """Two servers of this machine, stopped, with both copies of what was pushed to them."""
    stores = {
        name: DiskStore.create_or_open(command.data / name, threads=threads, clock=SystemClock())
        for name in ("one", "two")
    }

    async def push(database: Database) -> None:
        for name, store in stores.items():
            server = ServerRecord(name, f"host-{name}", f"http://{name}:5000", "", started=NOW)
            row = StoreRecord(
                store.store_id, server.name, str(store.root), "", 1.0, NOW, server_id=name
            )
            await join(database, server, [row], alone=True)
        reports = [StoreReport(store.store_id, 1000, 900) for store in stores.values()]
        await Membership(database, "one", SystemClock()).heartbeat(reports)
        parts = tuple((chunk_id_of(data), len(data)) for data in DATA)
        for data in DATA:
            for store in stores.values():
                await store.put(chunk_id_of(data), data)
        blob = Blob(digest(1), 5000 * len(DATA), None, encode(Recipe(DEFAULT, parts)))
        await database.blobs.commit(
            "alice/app", NewBlob(blob, parts), upload_id=None, now=NOW, actor=ACTOR
        )
        for name in stores:
            await database.servers.mark_stopped(name)

    command.database(push)
    return command


def files(command: Command, store: str) -> list[Path]:
    return sorted((command.data / store / "chunks").glob("*/*/*"))


def answer(command: Command, *words: str) -> tuple[int, Any]:
    """Return the exit status and what was answered in JSON."""
    result = command.run(*words, "--json", "--data", str(command.data))
    return result.exit_code, json.loads(result.stdout)

"""Migrations apart: they are done, and whoever serves imports nothing for them."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from treescale.errors import SettingInvalid
from treescale.metadata.migrations import ELSEWHERE, HEAD, migrate, version_of
from treescale.server.data import migrating
from treescale.server.data.migrating import migrating_apart

PROGRAM = """
import asyncio, sys
from contextlib import nullcontext
from treescale.metadata.migrations import migrate
from treescale.server.data.migrating import migrating_apart

with WHERE:
    asyncio.run(migrate(sys.argv[1]))
print("alembic" in sys.modules)
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/treescale.db"


def found(url: str) -> str | None:
    engine = create_engine(url)
    with engine.connect() as connection:
        version = version_of(connection)
    engine.dispose()
    return version


def migrated(url: str) -> str | None:
    with migrating_apart(url):
        asyncio.run(migrate(url))
    assert ELSEWHERE.get() is None
    return found(url)


@pytest.fixture(autouse=True)
def _no_child_is_left() -> Iterator[None]:
    before = children()
    yield
    assert children() == before


def children() -> str:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text()


@pytest.mark.parametrize(
    ("where", "imported"), [("migrating_apart(sys.argv[1])", "False"), ("nullcontext()", "True")]
)
def test_alembic_is_not_imported(where: str, imported: str, url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("WHERE", where), url],
        check=True,
        capture_output=True,
        timeout=60,
        text=True,
    )
    assert done.stdout.strip() == imported
    assert found(url) == HEAD


def test_it_is_done_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise AssertionError("it is done here")

    # Looked up by whoever does it: the fork has the one that works.
    with migrating_apart(url), monkeypatch.context() as patch:
        patch.setattr("treescale.metadata.migrations._do", fails)
        asyncio.run(migrate(url))
        asyncio.run(migrate(url))  # finds it done, and asks nobody
    assert found(url) == HEAD


def test_where_no_process_can_be_made_it_is_done_here(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fork() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", fork)
    assert migrated(url) == HEAD


def test_what_dies_or_fails_apart_is_done_here(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    here = os.getpid()

    async def dies(_url: str) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    async def fails(_url: str) -> None:
        raise OSError("no room")

    for how in (dies, fails):
        monkeypatch.setattr(migrating, "migrate", how)
        with migrating_apart(url):
            asyncio.run(migrate(url))
        assert os.getpid() == here
        assert found(url) == HEAD
        Path(url.removeprefix("sqlite:///")).unlink()


def test_what_is_refused_is_refused_here(url: str) -> None:
    assert migrated(url) == HEAD
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE schema_version SET version_num = '9999'"))
    engine.dispose()
    with migrating_apart(url), pytest.raises(SettingInvalid, match="newer TreeScale"):
        asyncio.run(migrate(url))


def test_it_ends_with_a_start_that_is_stopped(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hangs(_url: str) -> None:
        await asyncio.sleep(600)

    async def stopped(url: str) -> None:
        async with asyncio.timeout(0.2):
            await migrate(url)

    monkeypatch.setattr(migrating, "migrate", hangs)
    with pytest.raises(TimeoutError), migrating_apart(url):
        asyncio.run(stopped(url))

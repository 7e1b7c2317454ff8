"""A real PostgreSQL that hangs, dies and comes back (T57): what is known is read on."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Connection

from tests.contracts.metadata_values import ACTOR, APP, NOW, digest, large, manifest, part, small
from tests.fakes_database import Away
from tests.postgres import Postgres, running_postgres, serving
from treescale.errors import BlobUnknown, DatabaseUnavailable, ManifestUnknown
from treescale.metadata.database import Database
from treescale.metadata.engine.availability import LOOK_SECONDS, PROBE_SECONDS_MAX
from treescale.metadata.migrations import migrate

pytestmark = pytest.mark.long  # time passes: a database is waited for

NOTICED_SECONDS_MAX = 3.0
BACK_SECONDS_MAX = 10.0
AT_ONCE_SECONDS = 0.1
SECONDS_MAX = 60
INSERT = text("INSERT INTO settings (name, value) VALUES ('a', '')")


@dataclass
class Patient:
    """A server of these tests' own, to be ill-treated: `stop`, then `recover`."""

    server: Postgres
    servings: ExitStack
    _stopped: list[int] = field(default_factory=list)

    def stop(self, how: str) -> None:
        """Let it hang (connections stay, and say nothing), or end it at once."""
        first = int((self.server.directory / "data/postmaster.pid").read_text().split()[0])
        if how == "down":
            os.kill(first, signal.SIGQUIT)
            gone = f'until ! test -e "{self.server.directory}/data/postmaster.pid"; do sleep 0.05; '
            subprocess.run(["timeout", "30", "sh", "-c", f"{gone} done"], check=True)
            return
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        self._stopped = [first, *map(int, children)]
        for pid in self._stopped:
            os.kill(pid, signal.SIGSTOP)

    def recover(self) -> None:
        """Let it go on, or start it again."""
        if not self._stopped:
            directory = self.server.directory
            self.servings.enter_context(serving(directory, directory / "data"))
        for pid in self._stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self._stopped = []


@pytest.fixture(scope="module")
def patient() -> Iterator[Patient]:
    with running_postgres() as server, ExitStack() as servings:
        asyncio.run(migrate(server.url("postgres")))
        yield Patient(server, servings)


@pytest.fixture
def url(patient: Patient) -> str:
    return patient.server.url("postgres")


@pytest.fixture
async def watched(database: Database) -> AsyncIterator[Database]:
    async with asyncio.TaskGroup() as group:
        watch = group.create_task(database.run())
        yield database
        watch.cancel()


async def until_back(database: Database) -> None:
    async with asyncio.timeout(BACK_SECONDS_MAX):
        while True:
            with suppress(DatabaseUnavailable):
                return await database.settings.put("back", "yes")
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("how", ["hang", "down"])
async def test_what_is_known_is_read_on(watched: Database, patient: Patient, how: str) -> None:
    await watched.blobs.commit(APP, large(1, part(1)), upload_id=None, now=NOW, actor=ACTOR)
    await watched.manifests.put(APP, manifest(), [], ["v1"], now=NOW, actor=ACTOR)
    await watched.manifests.resolve(APP, "v1")
    patient.stop(how)
    async with asyncio.timeout(NOTICED_SECONDS_MAX):
        assert await watched.manifests.resolve(APP, "v1") == manifest()
        with pytest.raises(DatabaseUnavailable):
            await watched.settings.put("b", "")
        await asyncio.sleep(LOOK_SECONDS)
    async with asyncio.timeout(AT_ONCE_SECONDS):
        assert await watched.manifests.resolve(APP, "v1") == manifest()
        assert await watched.manifests.get(APP, manifest().digest) == manifest()
        assert await watched.blobs.find(APP, digest(1)) == large(1, part(1)).blob
        with pytest.raises(DatabaseUnavailable):
            await watched.blobs.find(APP, digest(2))
        with pytest.raises(DatabaseUnavailable):
            await watched.blobs.commit(APP, small(2), upload_id=None, now=NOW, actor=ACTOR)
        with pytest.raises(DatabaseUnavailable):
            await watched.ping()
    patient.recover()
    await until_back(watched)
    with pytest.raises(BlobUnknown):
        await watched.blobs.find(APP, digest(2))
    await watched.blobs.commit(APP, small(2), upload_id=None, now=NOW, actor=ACTOR)
    await watched.repositories.delete(APP, actor=ACTOR)


@pytest.mark.parametrize("how", ["hang", "down"])
async def test_a_commit_without_an_answer_is_told_as_unknown_and_can_be_repeated(
    watched: Database, patient: Patient, how: str
) -> None:
    """Not as refused: a hung server commits it after all when it goes on."""
    times = 0

    def work(connection: Connection) -> None:
        nonlocal times
        times += 1
        connection.execute(INSERT)
        patient.stop(how)

    async with asyncio.timeout(SECONDS_MAX):
        with pytest.raises(DatabaseUnavailable):
            await watched._connections.write(work)
    assert times == 1
    patient.recover()
    await until_back(watched)
    await watched.settings.put("a", "again")
    assert await watched.settings.get("a") == "again"
    await watched._connections.change(text("DELETE FROM settings"))


async def test_many_that_wait_for_a_hung_server_are_all_let_go(
    watched: Database, patient: Patient
) -> None:
    async def one(number: int) -> None:
        with pytest.raises(DatabaseUnavailable):
            await (watched.settings.put("a", "b") if number % 2 else watched.ping())

    await watched.ping()
    patient.stop("hang")
    async with asyncio.timeout(NOTICED_SECONDS_MAX), asyncio.TaskGroup() as group:
        for number in range(40):
            group.create_task(one(number))
    async with asyncio.timeout(PROBE_SECONDS_MAX):
        await watched.close()
    patient.recover()
    await until_back(watched)


class TestWhatIsForgotten:
    """Any database that cannot tell its changes, away after this worker's own changes."""

    @pytest.fixture
    def url(self, sqlite_url: str) -> str:
        return sqlite_url

    @pytest.fixture
    def gone(self, database: Database) -> Away:
        return Away(database, counts_changes=False)

    @pytest.fixture(autouse=True)
    async def pushed(self, database: Database) -> None:
        await database.blobs.commit(APP, small(1), upload_id=None, now=NOW, actor=ACTOR)
        await database.manifests.put(APP, manifest(), [], ["v1", "v2"], now=NOW, actor=ACTOR)
        await database.repositories.set_public(APP, public=True, now=NOW, actor=ACTOR)

    async def known(self, database: Database, gone: Away) -> set[str]:
        """Return what is answered while the database is away."""
        asks = {
            "blob": database.blobs.find(APP, digest(1)),
            "digest": database.manifests.get(APP, manifest().digest),
            "v1": database.manifests.resolve(APP, "v1"),
            "v2": database.manifests.resolve(APP, "v2"),
            "public": database.repositories.get(APP),
        }
        gone.begin()
        found = set()
        for name, ask in asks.items():
            with suppress(DatabaseUnavailable):
                await ask
                found.add(name)
        gone.end()
        return found

    async def read_all(self, database: Database) -> None:
        await database.blobs.find(APP, digest(1))
        await database.manifests.get(APP, manifest().digest)
        await database.manifests.resolve(APP, "v1")
        await database.manifests.resolve(APP, "v2")
        await database.repositories.get(APP)

    async def test_what_was_pushed_here_is_known(self, database: Database, gone: Away) -> None:
        assert await self.known(database, gone) == {"blob", "digest", "v1", "v2"}
        await self.read_all(database)
        assert await self.known(database, gone) == {"blob", "digest", "v1", "v2", "public"}

    async def test_a_tag(self, database: Database, gone: Away) -> None:
        await database.manifests.delete_tag(APP, "v1", actor=ACTOR)
        assert "v1" not in await self.known(database, gone)

    async def test_a_manifest_and_its_tags(self, database: Database, gone: Away) -> None:
        await self.read_all(database)
        await database.manifests.delete(APP, manifest().digest, actor=ACTOR)
        assert await self.known(database, gone) == {"blob", "public"}

    async def test_a_blob(self, database: Database, gone: Away) -> None:
        await database.blobs.unlink(APP, digest(1))
        assert "blob" not in await self.known(database, gone)

    async def test_a_repository(self, database: Database, gone: Away) -> None:
        await self.read_all(database)
        await database.repositories.delete(APP, actor=ACTOR)
        assert await self.known(database, gone) == set()

    async def test_that_it_is_public(self, database: Database, gone: Away) -> None:
        await self.read_all(database)
        await database.repositories.set_public(APP, public=False, now=NOW, actor=ACTOR)
        await database.repositories.get(APP)
        assert "public" not in await self.known(database, gone)

    async def test_what_another_has_deleted_once_the_database_said_so(
        self, database: Database, other: Database, gone: Away
    ) -> None:
        await self.read_all(database)
        await other.manifests.delete(APP, manifest().digest, actor=ACTOR)
        await other.blobs.unlink(APP, digest(1))
        for refused, ask in (
            (ManifestUnknown, database.manifests.delete(APP, manifest().digest, actor=ACTOR)),
            (ManifestUnknown, database.manifests.delete_tag(APP, "v1", actor=ACTOR)),
            (BlobUnknown, database.blobs.unlink(APP, digest(1))),
        ):
            with pytest.raises(refused):
                await ask
        assert await self.known(database, gone) == {"public"}

    async def test_but_a_push_that_was_refused_takes_nothing_away(
        self, database: Database, gone: Away
    ) -> None:
        gone.begin()
        with pytest.raises(DatabaseUnavailable):
            await database.manifests.put(APP, manifest(b"[]"), [], ["v1"], now=NOW, actor=ACTOR)
        with pytest.raises(DatabaseUnavailable):
            await database.manifests.delete_tag(APP, "v2", actor=ACTOR)
        gone.end()
        assert await self.known(database, gone) == {"blob", "digest", "v1", "v2"}

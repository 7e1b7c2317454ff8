"""A setting of the cluster that nobody can read: it is told, and `cluster set` mends it."""

from functools import partial
from typing import Any

import pytest

from tests.cli.conftest import Command
from tests.unreadable import EACH, MENDED_BY, UNREADABLE
from treescale.clock import SystemClock
from treescale.cluster.membership import Membership, join
from treescale.cluster.queries import unreadable_settings
from treescale.maintenance.report.collection_report import read_due
from treescale.metadata.database import Database
from treescale.metadata.records import ServerRecord, StoreRecord


async def start(database: Database) -> None:
    """Have a server with three stores, and so many copies."""
    server = ServerRecord("A", "host", "http://a:5000", "", started=1.0, version="0.2.0")
    stores = [StoreRecord(x, "host", f"/{x}", "", 1.0, 1.0, server_id="A") for x in "abc"]
    await join(database, server, stores, alone=False)
    await database.settings.put("copies", "3")
    await Membership(database, "A", SystemClock()).heartbeat([])


async def write(database: Database, *, name: str, text: str) -> None:
    await database.settings.put(name, text)


def told_of_settings(status: Any) -> list[str]:
    return [row["text"] for row in status["advice"] if row["about"] == "setting"]


@pytest.mark.parametrize("name", UNREADABLE)
def test_it_is_told_and_mended(command: Command, name: str) -> None:
    command.database(start)
    command.database(partial(write, name=name, text=max(UNREADABLE[name], key=len)))
    status = command.json("cluster", "status")
    (told,) = told_of_settings(status)
    assert f"the setting {name} cannot be read" in told
    assert f"`treescale cluster set {MENDED_BY[name]} " in told
    assert len(told) < 400
    assert status["collecting"].startswith("yes" if name == "copies" else "no: the setting")
    command.here("repo", "deleted")
    assert (command.database(read_due).pause is None) is (name == "copies")
    command.here("cluster", "set", MENDED_BY[name])
    status = command.json("cluster", "status")
    assert told_of_settings(status) == []
    assert status["collecting"] == "yes"


async def each_is_told(database: Database) -> None:
    for name, text in EACH:
        await database.settings.put(name, text)
        (told,) = await unreadable_settings(database)
        assert told.name == name
        assert told.why.startswith(f"the setting {name} cannot be read: ")
        assert len(told.why) < 300
        assert ((await read_due(database)).pause is None) is (name == "copies")
        await database.settings.remove(name)
    assert await unreadable_settings(database) == []


def test_whatever_the_text(command: Command) -> None:
    command.database(each_is_told)

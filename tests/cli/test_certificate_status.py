"""`treescale cluster status` says when the certificate of each server ends."""

import pytest

from tests.cli.conftest import Command
from tests.contracts.metadata_values import ACTOR
from treescale.metadata.database import Database
from treescale.metadata.records import ServerRecord


async def servers(database: Database) -> None:
    for name in "AB":
        server = ServerRecord(name, f"host-{name}", f"https://{name}", "", started=1.0)
        assert await database.servers.register(server, live_seconds=60, actor=ACTOR)


def test_the_end_of_each_certificate_is_shown_and_to_people_when_it_is_near(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def beat(days: float) -> None:
        async def work(database: Database) -> None:
            ends = await database.servers.now() + days * 86_400
            await database.servers.heartbeat("B", certificate_expires=ends)

        command.database(work)

    command.database(servers)
    beat(13)
    status = command.json("cluster", "status")
    first, second = [row["certificate_expires"] for row in status["servers"]]
    assert first is None
    (told,) = [each["text"] for each in status["advice"] if each["about"] == "certificate"]
    assert "ends in 13 days" in told
    lines = [line.split("\t") for line in command.here("cluster", "status").splitlines()]
    assert [line[-1] for line in lines if line[0] == "server"] == ["-", second]
    for place in ("terminal.output", "cluster"):
        monkeypatch.setattr(f"treescale.cli.{place}.for_people", lambda: True)
    monkeypatch.setenv("COLUMNS", "170")
    assert "certificate expires" in command.here("cluster", "status")
    beat(15)
    assert "certificate expires" not in command.here("cluster", "status")

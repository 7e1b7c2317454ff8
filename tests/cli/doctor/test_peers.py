"""What is found of the other servers."""

from dataclasses import replace
from pathlib import Path

from tests.cli.conftest import Command
from tests.contracts.metadata_values import ACTOR
from tests.fakes_network import unused_port
from tests.tables import each_row
from treescale.cli.doctor.finding import State
from treescale.cli.doctor.peers import PeerFacts, peer, peers, versions
from treescale.config import load
from treescale.metadata.database import Database
from treescale.metadata.records import ServerRecord

NOW = 1_800_000_000.0
SERVER = ServerRecord(
    "a" * 32, "s1", "https://s1:443", "", started=NOW - 900, seen=NOW, version="0.2.0"
)
WELL = PeerFacts(SERVER, NOW)


@each_row(
    ("facts", "state", "told"),
    [
        (WELL, State.OK, "reached, version 0.2.0"),
        (replace(WELL, server=replace(SERVER, seen=0.0)), State.WARNING, "stopped"),
        (replace(WELL, server=replace(SERVER, seen=NOW - 600)), State.FAILURE, "silent for 10 min"),
        (replace(WELL, unreached="no connection"), State.FAILURE, "not reached from here: no conn"),
        (replace(WELL, server=replace(SERVER, clock_error=-7.0)), State.WARNING, "-7.0 s"),
        (
            replace(WELL, server=replace(SERVER, certificate_expires=NOW + 86_400)),
            State.WARNING,
            "certificate ends in",
        ),
        (
            replace(WELL, server=replace(SERVER, certificate_expires=NOW - 3 * 86_400)),
            State.WARNING,
            "ended 3 days ago",
        ),
    ],
)
def test_what_is_found(facts: PeerFacts, state: State, told: str) -> None:
    found = peer(facts)
    assert (found.state, told in found.found) == (state, True), found
    assert bool(found.advice) == (state is not State.OK)
    assert "s1" in found.name


def test_versions_are_compared_where_there_are_several() -> None:
    older = replace(SERVER, version="")
    assert versions([SERVER]) is None
    same = versions([SERVER, SERVER])
    assert same is not None
    assert same.state is State.OK
    differ = versions([SERVER, older])
    assert differ is not None
    assert (differ.state, differ.found) == (State.WARNING, "0.1.0, 0.2.0")


def test_a_server_that_is_heard_of_and_not_reached(command: Command) -> None:
    address = f"http://127.0.0.1:{unused_port()}"

    async def join(database: Database) -> None:
        server = replace(SERVER, address=address)
        assert await database.servers.register(server, live_seconds=60, actor=ACTOR)
        await database.peer_keys.add(1, b"k" * 32)

    command.database(join)
    (found,) = peers(load({"data": (str(command.data),)}, {}).settings)
    assert (found.state, address in found.name) == (State.FAILURE, True)
    assert "no connection" in found.found


def test_where_no_server_was_nothing_is_made(command: Command, tmp_path: Path) -> None:
    assert [*peers(load({"data": (str(command.data),)}, {}).settings)] == []

    async def keys(database: Database) -> int:
        return len(await database.peer_keys.list())

    assert command.database(keys) == 0, "whoever only looks makes no key"
    empty = tmp_path / "empty"
    assert [*peers(load({"data": (str(empty),)}, {}).settings)] == []
    away = load({"database": "postgresql://nobody@127.0.0.1:1/x"}, {}).settings
    assert [each.state for each in peers(away)] == [State.WARNING]

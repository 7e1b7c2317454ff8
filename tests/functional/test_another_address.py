"""A server that was killed comes back at another address at once."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.functional.programs import refused
from tests.functional.server import Options, Server


def elsewhere(server: Server) -> Server:
    """Return the server at another port of this machine, with its data."""
    database = f"sqlite:///{server.disks[0] / 'treescale.db'}"
    other = Server(server.home / "other", replace(server.options, port=0, database=database))
    other.disks[:] = server.disks
    other.program.argv[:] = other._words()
    return other


@pytest.fixture
def lone(tmp_path: Path) -> Server:
    return Server(tmp_path / "lone", Options(workers=1)).start()


def test_a_server_that_was_killed_is_back_elsewhere_at_once(lone: Server) -> None:
    lone.crash()
    moved = elsewhere(lone).start()
    assert moved.port != lone.port
    assert moved.stop() == 0


def test_while_it_lives_it_is_not_started_again_elsewhere(lone: Server) -> None:
    said = refused(*elsewhere(lone).program.argv)
    assert "is in use by a server that runs on this machine" in said
    lone.crash()

"""A server that was killed comes back at another address at once; a copy of it does not."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.functional.programs import refused
from tests.functional.server import Options, Server


def elsewhere(server: Server, data: Path | None = None) -> Server:
    """Return the server at another port of this machine, with its data or a copy of it."""
    database = f"sqlite:///{server.disks[0] / 'treescale.db'}"
    other = Server(server.home / "other", replace(server.options, port=0, database=database))
    other.disks[:] = [data or server.disks[0]]
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
    """Without the lock it would prove to be itself, and two would write the same files."""
    said = refused(*elsewhere(lone).program.argv)
    assert "another server says that it is" in said
    lone.crash()


def test_a_copy_has_to_wait_though_the_server_was_killed(lone: Server, tmp_path: Path) -> None:
    lone.crash()
    copy = tmp_path / "copy"
    shutil.copytree(lone.disks[0], copy)
    said = refused(*elsewhere(lone, copy).program.argv)
    assert "another server says that it is" in said
    assert "Traceback" not in said

"""The demonstration does what it says, says what goes wrong, and leaves nothing behind."""

import json
import os
import signal
from pathlib import Path

import pytest

from tests.functional.programs import Program, children_of, run, wait_until
from tests.functional.server import TREESCALE

pytestmark = pytest.mark.functional


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return where the demonstration makes its directory, which nobody else uses."""
    place = tmp_path / "place"
    place.mkdir()
    return place


def left_in(place: Path) -> list[str]:
    """Return what the demonstration left: files, and processes that were told of the place."""
    files = [path.name for path in place.iterdir()]
    return files + [words for words in command_lines() if str(place) in words]


def command_lines() -> list[str]:
    """Return the command line of each process there is."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:  # it has ended
            continue
    return found


def start(place: Path) -> Program:
    """Start the demonstration and return once it has started a server."""
    demo = Program(TREESCALE, "demo", log=place.with_name("log"), env={"TMPDIR": str(place)})
    demo.start_until("a server runs", lambda: bool(children_of(demo.pid)), seconds=30)
    return demo


def test_a_server_dies_in_a_pull_and_nobody_notices(place: Path) -> None:
    lines = run(TREESCALE, "demo", env={"TMPDIR": str(place)}).splitlines()
    rows = [line.split("\t") for line in lines if "\t" in line]
    assert [row[0] for row in rows] == ["server1", "server2", "server3"] * 2
    assert all(int(chunks) > 0 and int(stored) > 0 for _, chunks, stored in rows)
    told = "\n".join(lines)
    order = ["through server1", "/-/cluster", "/admin/demo:1/-/spread", "sign in as admin"]
    order += ["kill -9 server3", "server2 noticed", "complete: ", "Pushed admin"]
    order += ["Pulled admin/demo:2", "Started server3 again", "through server3", "stopped"]
    places = [told.index(words) for words in order[:1]]
    for words in order[1:]:
        places.append(told.index(words, places[-1] + 1))
    assert "\x1b" not in told
    assert left_in(place) == []


def test_in_json_it_says_what_was_measured(place: Path) -> None:
    facts = json.loads(run(TREESCALE, "demo", "--json", env={"TMPDIR": str(place)}))
    pushed = facts["push_1"]["bytes"]
    spread = [server["stored_bytes"] for server in facts["spread"]]
    assert sum(spread) == facts["copies"] * pushed
    assert all(0 < stored < pushed for stored in spread)
    assert 0 < facts["killed"]["after_bytes"] < pushed
    assert facts["killed"]["noticed_seconds"] < 3
    assert facts["console"]["cluster"].endswith("/-/cluster")
    assert facts["returned"]["seen_by_all_seconds"] < 15


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_can_be_ended_at_any_time(place: Path, how: signal.Signals) -> None:
    demo = start(place)
    os.kill(demo.pid, how)
    assert demo.wait(seconds=20) == 1
    assert left_in(place) == []


def test_a_server_that_ends_by_itself_is_told_of(place: Path) -> None:
    demo = start(place)
    os.kill(children_of(demo.pid)[0], signal.SIGKILL)
    assert demo.wait(seconds=20) == 1
    assert "error: server" in demo.log_end()
    assert "ended with status -9" in demo.log_end()
    wait_until("all is removed", lambda: left_in(place) == [])

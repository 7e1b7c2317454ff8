"""The container's health check, against servers that answer, and where none does."""

import sys
from collections.abc import Callable
from pathlib import Path

from tests.functional.programs import free_port, outcome
from tests.functional.server import Options, Server

SCRIPT = Path(__file__).parents[2] / "deploy" / "container" / "healthcheck.py"


def checked(listen: str) -> tuple[int, str]:
    """Return how the check ends in a container that listens there, and what it says."""
    return outcome(sys.executable, "-I", SCRIPT, env={"TREESCALE_LISTEN": listen})


def test_a_server_is_healthy_with_and_without_tls(
    server: Server, serve: Callable[[Options], Server]
) -> None:
    assert checked(server.address) == (0, f"{server.address}: 200\n")
    assert checked(f"unix:/run/treescale.sock,0.0.0.0:{server.port}")[0] == 0
    tls = serve(Options(workers=1, tls=True))
    assert checked(f"0.0.0.0:{tls.port}") == (0, f"127.0.0.1:{tls.port}: 200\n")


def test_where_nobody_answers_nobody_is_healthy() -> None:
    port = free_port()
    code, said = checked(f"127.0.0.1:{port}")
    assert (code, "Connection refused" in said) == (1, True)
    assert checked("")[0] == 1, "told nothing it says so, and does not fall over"

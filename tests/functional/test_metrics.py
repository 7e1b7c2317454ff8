"""/metrics on its own address of a real server; promtool on the alert rules."""

import http.client
import socket
from pathlib import Path

from tests.functional.conftest import Serve
from tests.functional.programs import free_port, outcome, run, wait_until
from tests.functional.server import TREESCALE, Options

PROMETHEUS = Path(__file__).parents[2] / "deploy" / "prometheus"


def asked(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def test_the_address_of_its_own_has_the_page_and_no_registry(serve: Serve) -> None:
    port = free_port()
    server = serve(Options(variables=(("TREESCALE_METRICS_LISTEN", f"127.0.0.1:{port}"),)))
    assert (asked(port, "/metrics"), asked(port, "/v2/"), asked(port, "/token")) == (200, 404, 404)
    assert (asked(server.port, "/metrics"), asked(server.port, "/v2/")) == (401, 401)
    line = f"Metrics: http://127.0.0.1:{port}/metrics"
    wait_until("people are told", lambda: line in server.log.read_text())
    assert server.stop() == 0


def test_an_address_in_use_is_said_to_be(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        where = ("--data", str(tmp_path / "data"), "--listen", "127.0.0.1:0")
        code, said = outcome(TREESCALE, "serve", *where, "--metrics-listen", address)
    assert code != 0
    assert f"cannot listen on {address}: Address already in use" in said
    assert "choose another with --metrics-listen HOST:PORT" in said
    assert "Traceback" not in said


def test_promtool_takes_the_rules_and_their_tests_pass() -> None:
    run("promtool", "check", "rules", PROMETHEUS / "alerts.yaml")
    run("promtool", "test", "rules", *sorted(PROMETHEUS.glob("*.test.yaml")))

"""200 wrong passwords a second against a real server: right logins go on as if nothing was."""

import base64
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest

from tests.functional.cluster.altered import altered
from tests.functional.conftest import Serve
from tests.functional.server import Account, Options, Server
from treescale.auth.guessing import PAIR_FREE

pytestmark = pytest.mark.alone

FLOOD_SECONDS: Final = 6
OLD, NEW = "127.0.1.1", "127.1.{}.1"
"""An address that logged in before, and those that never did."""
FAST_SECONDS: Final = 1.0
"""How much longer a password may take than the slowest access token, which waits for nobody: that
one says how busy this machine is with other things."""
SLOW_SHARE_MAX: Final = 0.02


@contextmanager
def flooded(server: Server, how: str) -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, "-m", "tests.functional.flood", server.address, how]
    with subprocess.Popen([*words, str(FLOOD_SECONDS)], stdout=subprocess.PIPE, text=True) as flood:
        try:
            time.sleep(1)
            yield flood
        finally:
            flood.kill()


def log_in(server: Server, who: Account, source: str) -> tuple[int, float]:
    """Return the status of a login, and how long it took."""
    basic = base64.b64encode(f"{who.name}:{who.password}".encode()).decode()
    connection = http.client.HTTPConnection(
        server.options.host, server.port, timeout=20, source_address=(source, 0)
    )
    began = time.monotonic()
    try:
        connection.request("GET", "/token?service=x", headers={"Authorization": f"Basic {basic}"})
        status = connection.getresponse().status
    except OSError:
        status = 0
    finally:
        connection.close()
    return status, time.monotonic() - began


class People:
    """Four users: one who is guessed at, and others; one has an access token."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.victim, self.other, *self.more = (
            server.add_user(name) for name in ("victim", "other", "u1", "u2", "u3", "u4")
        )
        self.token = server.add_token(self.other)
        for account in (self.victim, self.other):
            assert log_in(server, account, OLD)[0] == http.client.OK

    def log_in_until(self, seconds: float) -> list[tuple[str, int, float]]:
        """Log in again and again in each way; return what was answered, and after what time."""
        end, seen, number = time.monotonic() + seconds, [], 0
        while time.monotonic() < end:
            number += 1
            newcomer = self.more[number % len(self.more)]
            for what, who, source in (
                ("an access token", self.token, NEW.format(number)),
                ("a known address, account guessed at", self.victim, OLD),
                ("a known address", self.other, OLD),
                ("a new address", newcomer, NEW.format(number)),
            ):
                seen.append((what, *log_in(self.server, who, source)))
            time.sleep(0.1)
        return seen


@pytest.mark.parametrize("how", ["address", "spread", "account=victim"])
def test_right_logins_go_on(serve: Serve, how: str) -> None:
    server = serve(Options(workers=2))
    people = People(server)
    with flooded(server, how) as flood:
        seen = people.log_in_until(FLOOD_SECONDS - 3)
        newcomer, took = log_in(server, people.victim, "127.2.0.1")
        said, _ = flood.communicate()
    assert [one for one in seen if one[1] != http.client.OK] == []
    busy = max(took for what, _, took in seen if what == "an access token")
    slow = [one for one in seen if one[2] > FAST_SECONDS + busy]
    assert len(slow) <= max(1, SLOW_SHARE_MAX * len(seen)), slow
    assert newcomer == http.client.OK
    assert took < 12, "the account is guessed at, and the address is new: ten seconds at most"
    answers = json.loads(said)
    assert answers.get("401", 0) < answers["429"], "most are refused without being looked at"


def test_an_address_is_known_after_a_restart(serve: Serve) -> None:
    server = serve(Options(workers=2))
    people = People(server)
    assert server.stop() == 0
    server.start()
    with flooded(server, "address"):
        for _ in range(3):
            for account in (people.victim, people.other):
                assert log_in(server, account, OLD)[0] == http.client.OK
    for number in range(PAIR_FREE + 3):  # an address that is not known is refused after PAIR_FREE
        log_in(server, Account("victim", f"wrong {number}"), OLD)
    status, took = log_in(server, people.victim, OLD)
    assert (status, took < 12) == (http.client.OK, True), "held for its own mistakes, not refused"


def test_without_the_limits_nobody_else_gets_in(serve: Serve) -> None:
    """The control: everybody is taken for a stranger, as in 0.1.0."""
    server = serve(Options(workers=2, launcher=altered("judge-nobody")))
    people = People(server)
    with flooded(server, "address"):
        time.sleep(3)
        seen = [log_in(server, one, NEW.format(9)) for one in people.more for _ in range(2)]
    assert any(status != http.client.OK or took > FAST_SECONDS for status, took in seen)

"""Who did what, from where, and who tried: as a server has written it down."""

import json
from typing import Any

from tests.functional.conftest import Serve
from tests.functional.server import Account, Options
from tests.functional.test_hooks import push
from tests.functional.wire import Wire

GUESSES = 3
"""From the fifth on she would wait, as it is from where she has logged in."""


def test_what_was_done_and_tried_is_in_the_audit_log(serve: Serve) -> None:
    """Also what was only counted, after an orderly stop."""
    server = serve(Options(workers=2))
    alice = server.add_user("alice")
    push(Wire(server, alice), "alice/app", "v1")
    guesses = [Account(name, f"{number}") for number in range(GUESSES) for name in ("alice", "no")]
    for each in guesses:
        assert Wire(server, each).with_basic("GET", "/v2/").status == 401
    server.stop()
    entries = [json.loads(line) for line in server.admin("audit", "--json").splitlines()]

    def told(kind: str) -> list[dict[str, Any]]:
        return [each for each in entries if each["kind"] == kind]

    (pushed,) = told("image.pushed")
    assert (pushed["actor"], pushed["address"]) == ("alice", "127.0.0.1")
    assert pushed["request_id"]
    assert "alice" in {each["actor"] for each in told("login.succeeded")}
    refused = told("login.refused")
    assert {each["namespace"] for each in refused} == {"alice", None}
    assert {each["address"] for each in refused} == {"127.0.0.0/24"}
    assert sum(each["payload"]["count"] for each in refused) == len(guesses)

"""What the administrator takes away is gone, without a restart and for every worker."""

import json

from tests.functional.programs import wait_until
from tests.functional.server import Account, Server
from tests.functional.wire import Wire

EFFECT_SECONDS_MAX = 60


def status(server: Server, account: Account) -> int:
    """Return what the registry answers to credentials, as `docker login` asks it."""
    return Wire(server, account).with_basic("GET", "/v2/").status


def locked_out(server: Server, account: Account) -> bool:
    """Return whether no worker lets the account in; each new connection may reach another.

    The answer is 401, or 429 to who goes on trying.
    """
    return all(status(server, account) in {401, 429} for _ in range(8))


def test_what_is_taken_away_stops_working_on_every_worker(
    server: Server, alice: Account, bob: Account
) -> None:
    token = server.add_token(alice)
    gone = server.add_user(f"{bob.name}-too")
    for account in (alice, bob, gone, token) * 4:  # so that each worker knows them
        assert status(server, account) == 200
    [listed] = json.loads(server.admin("token", "list", alice.name, "--json"))
    server.admin("token", "revoke", listed["id"])
    server.admin("user", "remove", gone.name, "--yes")
    renewed = Account(bob.name, "a new password, also long")
    server.admin("user", "password", bob.name, "--password-stdin", text_in=renewed.password)
    assert status(server, renewed) == 200
    wait_until(
        "they are locked out",
        lambda: all(locked_out(server, account) for account in (token, gone, bob)),
        seconds=EFFECT_SECONDS_MAX,
        every=0.5,
    )
    assert status(server, alice) == 200

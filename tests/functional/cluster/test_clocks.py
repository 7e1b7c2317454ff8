"""Clocks that are off, and that are set while servers run: nothing that servers share minds.

`docs/reliability.md` has what was measured; each run shows its own.
"""

import itertools
import json
import time
from collections.abc import Callable

import pytest

from tests.functional.cluster.clocks import SetClock, ahead_by, is_accepted, may_push, on_a_machine
from tests.functional.cluster.conftest import Measured
from tests.functional.cluster.load import REQUESTS, Load
from tests.functional.cluster.nodes import Cluster, Node
from tests.functional.cluster.record import CLOCK
from tests.functional.programs import run, wait_until
from tests.functional.server import Account
from tests.functional.wire import Wire
from tests.id_tokens import RSA_KEY, Maker, jwk, jwks

pytestmark = pytest.mark.early

REVOKED_SECONDS_MAX = 60
NEW_PASSWORD = "another correct horse"


def advice_on_clocks(node: Node) -> list[str]:
    return [one["text"] for one in node.status()["advice"] if one["about"] == "clock"]


@pytest.mark.parametrize("ahead", [-600, -30, 30, 600] if REQUESTS else [-600])
def test_a_server_whose_clock_is_off_from_the_start(
    three: Cluster, measured: Measured, ahead: int
) -> None:
    victim, other, _ = three.nodes
    with victim.otherwise(**on_a_machine(ahead)):
        with Load(three.nodes, three.account) as load, load.fault():
            load.lasts_long(6)
            wait_until("status names it", lambda: advice_on_clocks(other) != [])
            told = advice_on_clocks(other)
            logged_in_anew(three)
        lost = load.unreadable(three.nodes)
    measured(load.row(f"T80 a clock {ahead:+d} s", lost=lost))
    assert load.failures == []
    assert lost == []
    assert len(told) == 1
    assert victim.address in told[0]


@pytest.mark.parametrize("ahead", [-600, 600] if REQUESTS else [600])
def test_a_clock_that_is_set_while_its_server_is_used(
    three: Cluster, measured: Measured, ahead: int
) -> None:
    """Set wrong, and right again: tokens of before and of meanwhile are good all the time."""
    victim, _, _ = three.nodes
    clock = SetClock(victim.home)
    with victim.otherwise(launcher=clock.launcher()):
        with Load(three.nodes, three.account, pushers=1, pullers=1, blob_bytes=300_000) as load:
            load.lasts()
            with load.fault():
                clock.set(ahead)
                load.lasts_long(6)
                logged_in_anew(three)
            clock.set(0)
            load.lasts()
            logged_in_anew(three)
        lost = load.unreadable(three.nodes)
    measured(load.row(f"T80 a clock set by {ahead:+d} s", lost=lost))
    assert load.failures == []
    assert lost == []


PUBLIC_URL = "https://registry.example"
ISSUER = "https://issuer.example"
TEAMS = ("role", "robot", "rule")
"""What is revoked in an organisation; the rest is of a user's own namespace."""
REVOKED = ("password", "remove", "revoke", *TEAMS)


@pytest.mark.parametrize("apart", [30, 600] if REQUESTS else [600])
def test_revoking_holds_and_locks_nobody_out_whatever_clocks_say(
    three: Cluster, apart: int
) -> None:
    """One server's clock is ahead, one's behind, one's right; so are those of who revokes."""
    ahead, behind, right = three.nodes
    with (
        ahead.otherwise(**on_a_machine(apart)),
        behind.otherwise(**on_a_machine(-apart)),
        right.otherwise(variables=(("TREESCALE_PUBLIC_URL", PUBLIC_URL),)),
    ):
        keys = right.home / "jwks.json"
        keys.write_bytes(jwks(jwk(RSA_KEY, "k1")))
        right._administer("issuer", "add", ISSUER, "--jwks", str(keys))
        held: dict[str, list[Wire]] = {}
        for number, what in enumerate(REVOKED):
            by = -apart if number % 2 else apart
            held[f"{what}, by a clock {by:+d} s"] = revoked(three, by, f"{what}{apart}", what)
        wait_until(
            "every bearer token of before is refused by every server",
            lambda: not accepted(three, held),
            seconds=REVOKED_SECONDS_MAX,
            every=1,
        )
        logged_in_anew(three)


def revoked(three: Cluster, ahead: int, name: str, what: str) -> list[Wire]:
    """Log somebody in on every server, revoke that, log in anew where one may; return the first."""

    def by_that_clock(*words: str, text_in: str = "") -> str:
        argv = (*ahead_by(ahead), *words, *three.nodes[2]._where())
        return run(*argv, text_in=text_in)

    account = holder(three, name, what)
    held = [Wire(node, account) for node in three.nodes]
    if what == "rule":  # by whose clock the ID token is good, and which knows its own URL
        held = [held[2]]
    for wire in held:
        assert may_push(wire, name), "a login that is good"
    # A token of one server is good at all.
    for here, there in itertools.product(held, (Wire(node) for node in three.nodes)):
        assert is_accepted(here, there)
    revoke(three, by_that_clock, name, what)
    return held


def holder(three: Cluster, name: str, what: str) -> Account:
    """Return who may push to the namespace of that name until that is revoked."""
    node = three.nodes[2]
    user = node.add_user(f"{name}-boss" if what in TEAMS else name)
    if what not in TEAMS:
        return node.add_token(user) if what == "revoke" else user
    node._administer("org", "add", name, "--owner", user.name)
    if what == "role":
        member = node.add_user(f"{name}-member")
        node._administer("org", "grant", name, member.name, "writer")
        return member
    secret = node._administer("robot", "add", name, "ci").strip()
    if what == "robot":
        return Account(f"{name}+ci", secret)
    claim = ("--claim", "repository=acme/app", "--claim", "repository_owner_id=42")
    node._administer("robot", "trust", f"{name}+ci", "--issuer", ISSUER, *claim)
    claims = {"repository": "acme/app", "repository_owner_id": "42"}
    token = Maker(ISSUER, CLOCK.now(), PUBLIC_URL, claims=claims).token()
    return Account(f"{name}+ci", token)


def revoke(three: Cluster, run_by_that_clock: Callable[..., str], name: str, what: str) -> None:
    """Take away what somebody may push by."""
    if what == "revoke":
        token = json.loads(run_by_that_clock("token", "list", name, "--json"))
        rows = token if isinstance(token, list) else token["tokens"]
        run_by_that_clock("token", "revoke", str(rows[0]["id"]))
    elif what == "password":
        run_by_that_clock("user", "password", name, "--password-stdin", text_in=NEW_PASSWORD)
        for node in three.nodes:
            fresh = Wire(node, Account(name, NEW_PASSWORD))
            assert may_push(fresh, name), "the new password is good at once"
    elif what == "role":
        run_by_that_clock("org", "revoke", name, f"{name}-member")
    elif what == "robot":
        run_by_that_clock("robot", "remove", f"{name}+ci", "--yes")
    elif what == "rule":
        shown = json.loads(run_by_that_clock("robot", "show", f"{name}+ci", "--json"))
        run_by_that_clock("robot", "distrust", f"{name}+ci", shown["rules"][0]["id"])
    else:
        run_by_that_clock("user", "remove", name, "--yes")


def accepted(three: Cluster, held: dict[str, list[Wire]]) -> list[str]:
    """Return which bearer tokens of before are still accepted, by which server."""
    return [
        f"{what} at {node.address}"
        for what, wires in held.items()
        for wire, node in itertools.product(wires, three.nodes)
        if is_accepted(wire, Wire(node))
    ]


_names: Callable[[], int] = itertools.count().__next__


def logged_in_anew(three: Cluster) -> None:
    """Log a new user in on each server, with a password and with an access token that ends."""
    name = f"new{_names()}x{time.monotonic_ns():x}"
    user = three.nodes[0].add_user(name)
    token = three.nodes[1].add_token(user, "--expires", "30m")
    for node in three.nodes:
        for account in (user, token):
            assert may_push(Wire(node, account), name)

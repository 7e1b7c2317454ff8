"""Changes of organisations and roles, and what is recorded of each (`metadata_events`)."""

from collections.abc import Awaitable, Callable
from typing import Any

from tests.contracts.metadata_values import ACTOR
from treescale.metadata.database import Database

Row = dict[str, Any]
Write = Callable[[Database], Awaitable[object]]


def of_team(kind: str, name: str = "acme") -> Row:
    return {"kind": kind, "namespace": name, "payload": {}}


def of_member(kind: str, name: str = "acme", *, user: str = "alice", role: str) -> Row:
    return {**of_team(kind, name), "payload": {"user": user, "role": role, "repository": "*"}}


OF_TEAMS: dict[str, tuple[Write, list[Row]]] = {
    "an organisation": (
        lambda db: db.organisations.add("acme", "alice", actor=ACTOR),
        [of_member("member.granted", role="owner"), of_team("organisation.created")],
    ),
    "a role": (
        lambda db: db.organisations.grant(
            "team", "alice", role="reader", repository="team/a", actor=ACTOR
        ),
        [
            {
                **of_team("member.granted", "team"),
                "payload": {"user": "alice", "role": "reader", "repository": "team/a"},
            }
        ],
    ),
    "no role any more": (
        lambda db: db.organisations.revoke("team", "carol", repository=None, actor=ACTOR),
        [of_member("member.revoked", "team", user="carol", role="reader")],
    ),
    "what new ones are": (
        lambda db: db.organisations.set_visibility("team", "internal", actor=ACTOR),
        [{**of_team("namespace.visibility", "team"), "payload": {"visibility": "internal"}}],
    ),
    "no organisation any more": (
        lambda db: db.organisations.remove("team", actor=ACTOR),
        [of_team("organisation.removed", "team")],
    ),
}

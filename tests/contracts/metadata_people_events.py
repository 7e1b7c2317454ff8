"""Changes of accounts beside making them, and what is recorded of each (`metadata_events`)."""

from dataclasses import replace

from tests.contracts.metadata_people import generation, link, session, signed_on
from tests.contracts.metadata_teams import Row, Write
from tests.contracts.metadata_values import ACTOR, NOW
from treescale.metadata.database import Database
from treescale.metadata.identity.links import RESET, Links
from treescale.metadata.identity.providers import Identities, Provider, Providers
from treescale.metadata.identity.sessions import Sessions
from treescale.metadata.identity.sign_on import SignOns
from treescale.metadata.identity.states import AccountStates
from treescale.metadata.identity.terms import Terms

CORP = Provider("corp", "https://corp", "id", None, Terms(), NOW)


def of_account(kind: str, name: str = "alice", **payload: object) -> list[Row]:
    return [{"kind": kind, "namespace": name, "payload": payload}]


async def suspended(database: Database) -> None:
    await AccountStates(database.connections).suspend("alice", actor=ACTOR)


async def resumed(database: Database) -> None:
    await AccountStates(database.connections).suspend("alice", actor="setup")
    await AccountStates(database.connections).resume("alice", actor=ACTOR)


async def uninvited(database: Database) -> None:
    links = Links(database.connections)
    await links.add(link(name="erin", actor="setup"), "secret")
    await links.withdraw("l1", actor=ACTOR)


async def ended(database: Database) -> None:
    sessions = Sessions(database.connections)
    await sessions.add(session(), generation=await generation(database))
    for _ in range(2):
        await sessions.end_others("alice", actor=ACTOR)


async def linked(database: Database) -> None:
    given = signed_on(actor=ACTOR)
    given = replace(given, identity=replace(given.identity, user="erin"))
    await SignOns(database.connections).finish(given, session())


async def unlinked(database: Database) -> None:
    await SignOns(database.connections).finish(signed_on(link_to="alice"), session())
    await Identities(database.connections).unlink("alice", "i1", actor=ACTOR)


async def removed(database: Database) -> None:
    await Providers(database.connections).add(CORP, actor="setup")
    await Providers(database.connections).remove("corp", actor=ACTOR)


LINK: Row = {"link_id": "l1", "expires": NOW + 3600, "admin": False}
OF_PEOPLE: dict[str, tuple[Write, list[Row]]] = {
    "a suspension": (suspended, of_account("user.suspended")),
    "no suspension any more": (resumed, of_account("user.resumed")),
    "an administrator": (
        lambda db: AccountStates(db.connections).set_admin("alice", admin=True, actor=ACTOR),
        of_account("user.admin", admin=True),
    ),
    "an invitation": (
        lambda db: Links(db.connections).add(link(name="erin"), "secret"),
        of_account("user.invited", "erin", **LINK),
    ),
    "no invitation any more": (uninvited, of_account("user.uninvited", "erin", link_id="l1")),
    "a reset": (
        lambda db: Links(db.connections).add(link(RESET, "alice"), "secret"),
        of_account("user.reset", **LINK),
    ),
    "no sessions any more": (ended, of_account("user.sessions", ended=1)),
    "a provider": (
        lambda db: Providers(db.connections).add(CORP, actor=ACTOR),
        [{"kind": "sign_on.added", "payload": {"provider": "corp", "issuer": "https://corp"}}],
    ),
    "no provider any more": (
        removed,
        [{"kind": "sign_on.removed", "payload": {"provider": "corp"}}],
    ),
    "an account by a provider": (
        linked,
        [
            *of_account(
                "sign_on.linked", "erin", provider="corp", issuer="https://corp", identity_id="i1"
            ),
            *of_account("user.created", "erin", admin=False),
        ],
    ),
    "no login by a provider any more": (unlinked, of_account("sign_on.unlinked", identity_id="i1")),
}

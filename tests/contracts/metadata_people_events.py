"""What changes of accounts, of links to them and of providers of sign-on record of themselves."""

from functools import partial

from tests.contracts.metadata_people import link
from tests.contracts.metadata_teams import Row, Write
from tests.contracts.metadata_values import ACTOR, NOW
from treescale.metadata.database import Database
from treescale.metadata.identity.links import INVITATION, RESET, Links
from treescale.metadata.identity.providers import (
    Identities,
    Identity,
    Provider,
    Providers,
    link_identity,
)
from treescale.metadata.identity.states import AccountStates
from treescale.metadata.identity.terms import Terms

SETUP = "cli:setup@here"
CORP = Provider("corp", "https://corp", "client", None, Terms(), NOW)
OF_CAROL = Identity("i1", "https://corp", "1", "carol", "corp", "", NOW, NOW)


async def linked(database: Database, actor: str = ACTOR) -> None:
    work = partial(link_identity, identity=OF_CAROL, actor=actor)
    await database.connections.write(work)


async def unlinked(database: Database) -> None:
    await linked(database, SETUP)
    await Identities(database.connections).unlink("carol", "i1", actor=ACTOR)


async def no_provider(database: Database) -> None:
    providers = Providers(database.connections)
    await providers.add(CORP, actor=SETUP)
    await providers.remove("corp", actor=ACTOR)


async def twice(database: Database) -> None:
    states = AccountStates(database.connections)
    for admin in (True, True):
        await states.set_admin("carol", admin=admin, actor=ACTOR)


async def resumed(database: Database) -> None:
    states = AccountStates(database.connections)
    await states.suspend("carol", actor=SETUP)
    await states.resume("carol", actor=ACTOR)


def of(kind: str, user: str, **payload: object) -> Row:
    """Return the row of an event of an account."""
    return {"kind": kind, "namespace": user, "payload": payload}


OF_PEOPLE: dict[str, tuple[Write, list[Row]]] = {
    "an invitation": (
        lambda db: Links(db.connections).add(link(INVITATION, "erin"), "secret"),
        [of("user.invited", "erin", link_id="l1", expires=NOW + 3600, admin=False)],
    ),
    "a reset": (
        lambda db: Links(db.connections).add(link(RESET, "carol"), "secret"),
        [of("user.reset", "carol", link_id="l1", expires=NOW + 3600, admin=False)],
    ),
    "an account that counts no more": (
        lambda db: AccountStates(db.connections).suspend("carol", actor=ACTOR),
        [of("user.suspended", "carol")],
    ),
    "one that counts again": (resumed, [of("user.resumed", "carol")]),
    "an administrator": (twice, [of("user.admin", "carol", admin=True)]),
    "a provider of sign-on": (
        lambda db: Providers(db.connections).add(CORP, actor=ACTOR),
        [{"kind": "sign_on.added", "payload": {"provider": "corp", "issuer": "https://corp"}}],
    ),
    "no provider any more": (
        no_provider,
        [{"kind": "sign_on.removed", "payload": {"provider": "corp"}}],
    ),
    "somebody who comes by a provider": (
        linked,
        [
            of(
                "sign_on.linked",
                "carol",
                provider="corp",
                issuer="https://corp",
                identity_id="i1",
            )
        ],
    ),
    "and does no more": (
        unlinked,
        [of("sign_on.unlinked", "carol", identity_id="i1")],
    ),
}

"""One sign-on by a provider as one transaction: who it is, what they may, their session.

A provider takes away only the roles that came from it: `sign_on_grants` notes them, and a role that
somebody changed by hand since is theirs. A role given by hand is never changed by a sign-on. An
organisation keeps its last owner.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import Row, bindparam, delete, exists, select
from sqlalchemy.engine import Connection

from treescale.errors import NamespaceUnknown, SignOnRefused, UserExists
from treescale.metadata.accounts import add_account, void
from treescale.metadata.engine.connections import Connections, changed
from treescale.metadata.engine.upserts import insert_or_update
from treescale.metadata.events.recording import Event, Kind, record
from treescale.metadata.identity.links import accept, take
from treescale.metadata.identity.providers import (
    Identity,
    find_identity,
    link_identity,
    see_identity,
    use_state,
)
from treescale.metadata.identity.sessions import Session, add_session
from treescale.metadata.identity.states import resume, suspend
from treescale.metadata.identity.terms import GroupRole
from treescale.metadata.namespaces import EVERY_REPOSITORY, OWNER, hold_namespace
from treescale.metadata.organisations import grant_role
from treescale.metadata.records import NO_PASSWORD, User
from treescale.metadata.schema import counters, members, namespaces, sign_on_grants, users

_SUSPENDED: Final = select(users.c.suspended, users.c.suspended_by).where(
    users.c.name == bindparam("user")
)
_NOTED: Final = (
    select(sign_on_grants, namespaces.c.name)
    .join(namespaces, namespaces.c.namespace_id == sign_on_grants.c.namespace_id)
    .where(sign_on_grants.c.user_name == bindparam("user"))
    .order_by(sign_on_grants.c.namespace_id)
)
_NOTE: Final = insert_or_update(sign_on_grants, ["provider", "role"])
_OF: Final = (
    sign_on_grants.c.namespace_id == bindparam("row_id"),
    sign_on_grants.c.user_name == bindparam("user"),
)
_FORGET: Final = delete(sign_on_grants).where(*_OF)
_MEMBER: Final = (
    members.c.namespace_id == bindparam("row_id"),
    members.c.user_name == bindparam("user"),
    members.c.repository == EVERY_REPOSITORY,
)
_ROLE: Final = select(members.c.role).where(*_MEMBER)
_REVOKE: Final = delete(members).where(*_MEMBER, members.c.role == bindparam("was"))
_OTHER_OWNER: Final = select(
    exists().where(
        members.c.namespace_id == bindparam("row_id"),
        members.c.user_name != bindparam("user"),
        members.c.role == OWNER,
        members.c.repository == EVERY_REPOSITORY,
    )
)
_GENERATION: Final = select(counters.c.value).where(counters.c.name == "generation")


@dataclass(frozen=True, slots=True)
class SignedOn:
    """What a provider has said of somebody, checked, and what follows from it by its terms."""

    identity: Identity
    """Of `user` the name that a new account would get; perhaps none that it can have."""
    state: str
    state_expires: float
    allowed: bool
    """Whether the provider's terms let them in."""
    roles: Mapping[str, GroupRole]
    """By organisation, of their groups."""
    create: bool
    """Whether somebody new gets an account."""
    actor: str
    """The rule that does it."""
    link_to: str = ""
    """The account that asked to be bound to it."""
    invitation: str = ""
    """The SHA-256 of an invitation that is accepted with it."""
    reset: str = ""
    """Likewise of a link for an account that is there."""


class SignOns:
    """Finishes sign-ons."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def finish(self, signed_on: SignedOn, session: Session) -> str:
        """Begin the session, of whoever this is; return the account's name.

        Raises SignOnRefused, saying what to do; LinkUnknown; NameInvalid. An account that is let in
        no more is suspended before that is raised.
        """

        def work(connection: Connection) -> tuple[str, bool]:
            return _finish(connection, signed_on, session)

        name, is_in = await self._connections.write(work)
        if not is_in:
            raise SignOnRefused(
                "the provider does not vouch for what this registry asks for (a group, or a "
                "verified address): ask whoever administrates it"
            )
        return name


def _finish(connection: Connection, given: SignedOn, session: Session) -> tuple[str, bool]:
    now = session.created
    use_state(connection, given.state, given.state_expires)
    known = find_identity(connection, given.identity.issuer, given.identity.subject)
    if not given.allowed:
        if known is not None:
            suspend(connection, known.user, given.actor)
        return "", False
    name = known.user if known is not None else _new(connection, given, now)
    if known is not None:
        _check_same(known, given)
        see_identity(connection, replace(given.identity, identity_id=known.identity_id), now)
        resume(connection, name, given.actor, only_by=given.actor)
    if connection.execute(_SUSPENDED, {"user": name}).one().suspended is not None:
        raise SignOnRefused("this account is suspended: ask whoever administrates the registry")
    _sync(connection, name, given)
    generation = connection.execute(_GENERATION).scalar_one_or_none() or 0
    add_session(connection, replace(session, user=name), generation)
    return name, True


def _check_same(known: Identity, given: SignedOn) -> None:
    if given.link_to and known.user != given.link_to:
        raise SignOnRefused("this login of the provider belongs to another account here")
    if given.invitation or given.reset:
        raise SignOnRefused(
            f"this login of the provider belongs to the account {known.user} already"
        )


def _new(connection: Connection, given: SignedOn, now: float) -> str:
    """Find, or make, the account of who comes by this identity for the first time."""
    if given.link_to:
        name, actor = given.link_to, given.link_to
    elif given.invitation:
        name = accept(connection, given.invitation, NO_PASSWORD, now).user
        actor = name
    elif given.reset:
        name = take(connection, given.reset, "reset", now).user
        actor = name
    elif given.create:
        name, actor = given.identity.user, given.actor
        if not name:
            raise SignOnRefused(
                "the provider tells no name that an account can have here: ask for an invitation"
            )
        try:
            add_account(
                connection, User(name, NO_PASSWORD, admin=False, created=now), actor, adopt=False
            )
        except UserExists:
            raise SignOnRefused(
                f"the name {name} is taken here: if the account is yours, sign in to it as before "
                "and link this provider on its page; else ask for an invitation"
            ) from None
    else:
        raise SignOnRefused("you have no account here yet: ask for an invitation")
    link_identity(connection, replace(given.identity, user=name), actor)
    return name


def _sync(connection: Connection, user: str, given: SignedOn) -> None:
    """Have the roles that come from the provider be those of now."""
    provider = given.identity.provider
    noted = {row.name: row for row in connection.execute(_NOTED, {"user": user}).all()}
    for organisation in sorted({*noted, *given.roles}):
        row, wanted = noted.get(organisation), given.roles.get(organisation)
        if row is not None and row.provider != provider:
            continue
        if wanted is None:
            assert row is not None, "it is in one of the two"
            _take_away(connection, user, row, given.actor)
        else:
            _give(connection, user, wanted, row, given)


def _give(
    connection: Connection, user: str, group: GroupRole, noted: Row[Any] | None, given: SignedOn
) -> None:
    organisation, wanted = group.organisation, group.role
    held = hold_namespace(connection, organisation)
    if held is None or not held.is_organisation or held.row_id != group.namespace_id:
        return
    these = {"row_id": held.row_id, "user": user}
    has = connection.execute(_ROLE, these).scalar_one_or_none()
    is_ours = noted is not None and noted.namespace_id == held.row_id and noted.role == has
    if has is not None and not is_ours:
        return
    if has == OWNER and wanted != OWNER and not _has_other_owner(connection, held.row_id, user):
        return
    try:
        grant_role(connection, organisation, (user, wanted, EVERY_REPOSITORY), given.actor)
    except NamespaceUnknown:
        return
    row = {
        "namespace_id": held.row_id,
        "user_name": user,
        "provider": given.identity.provider,
        "role": wanted,
    }
    connection.execute(_NOTE.on(connection), row)


def _take_away(connection: Connection, user: str, noted: Row[Any], actor: str) -> None:
    hold_namespace(connection, noted.name)
    these = {"row_id": noted.namespace_id, "user": user}
    if noted.role == OWNER and not _has_other_owner(connection, noted.namespace_id, user):
        return
    if changed(connection, _REVOKE, {**these, "was": noted.role}):
        void(connection, f"member:{user}")
        told = {"user": user, "role": noted.role, "repository": EVERY_REPOSITORY}
        event = Event(Kind.MEMBER_REVOKED, actor, namespace=noted.name, payload=told)
        record(connection, event)
    connection.execute(_FORGET, these)


def _has_other_owner(connection: Connection, row_id: int, user: str) -> bool:
    found = connection.execute(_OTHER_OWNER, {"row_id": row_id, "user": user})
    return bool(found.scalar_one())

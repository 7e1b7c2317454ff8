"""Providers of sign-on, and the accounts that are bound to what they call somebody.

An account is bound to (issuer, subject) and to nothing else: names and addresses change hands. What
a sign-on changes, it changes in one transaction: account, identity, roles, suspension, session.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from sqlalchemy import Row, bindparam, delete, func, select, update
from sqlalchemy.engine import Connection

from treescale.errors import (
    IdentityUnknown,
    NamespaceUnknown,
    ProviderUnknown,
    Refused,
    SettingInvalid,
    SignOnRefused,
    UserExists,
)
from treescale.lease_times import OFF, ON
from treescale.metadata.accounts import HOLD_USER, of_user, unknown_user
from treescale.metadata.engine.connections import Connections, changed
from treescale.metadata.engine.upserts import insert_or_ignore
from treescale.metadata.events.recording import Event, Kind, record
from treescale.metadata.identity.terms import Terms
from treescale.metadata.namespaces import organisation_id
from treescale.metadata.organisations import PASSWORDS_SETTING
from treescale.metadata.records import NO_PASSWORD
from treescale.metadata.schema import (
    identities,
    sessions,
    sign_on_providers,
    sign_on_states,
    users,
)
from treescale.metadata.settings.settings import GET_SETTING, Check, change_setting

PROVIDERS_MAX: Final = 100
IDENTITIES_MAX: Final = 20
"""Of one account."""

_NAMED: Final = sign_on_providers.c.name == bindparam("this")
GET: Final = select(sign_on_providers).where(_NAMED)
LIST: Final = select(sign_on_providers).order_by(sign_on_providers.c.name).limit(PROVIDERS_MAX)
_HOLD_ALL: Final = (
    select(sign_on_providers.c.name).order_by(sign_on_providers.c.name).with_for_update()
)
"""Before the last one goes, and before passwords are switched off: so not both happen at once."""
_COUNT: Final = select(func.count()).select_from(sign_on_providers)
_ADD: Final = insert_or_ignore(sign_on_providers)
_REMOVE: Final = delete(sign_on_providers).where(_NAMED)
_END_SESSIONS: Final = delete(sessions).where(sessions.c.provider == bindparam("this"))
_OF: Final = (
    identities.c.issuer == bindparam("issuer"),
    identities.c.subject == bindparam("subject"),
)
FIND_IDENTITY: Final = select(identities).where(*_OF)
LIST_IDENTITIES: Final = (
    select(identities)
    .where(identities.c.user_name == bindparam("user"))
    .order_by(identities.c.created, identities.c.identity_id)
)
_ADD_IDENTITY: Final = insert_or_ignore(identities)
_SEE: Final = (
    update(identities)
    .where(identities.c.identity_id == bindparam("this"))
    .values(seen=bindparam("now"), email=bindparam("new_email"), provider=bindparam("new_provider"))
)
_UNLINK: Final = delete(identities).where(
    identities.c.identity_id == bindparam("this"), identities.c.user_name == bindparam("user")
)
_HOLD: Final = (
    select(users.c.password_hash)
    .where(users.c.name == bindparam("user"))
    .with_for_update(key_share=True)
)
_USE_STATE: Final = insert_or_ignore(sign_on_states)
_PRUNE_STATES: Final = delete(sign_on_states).where(sign_on_states.c.expires <= bindparam("now"))


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider of sign-on (OpenID Connect)."""

    name: str
    issuer: str
    client_id: str
    client_secret: str | None
    terms: Terms
    created: float = 0.0


@dataclass(frozen=True, slots=True)
class Identity:
    """What a provider calls the user of an account."""

    identity_id: str
    issuer: str
    subject: str
    user: str
    provider: str
    """By which the user last came."""
    email: str
    """As it was then: it says nothing."""
    created: float
    seen: float


class Providers:
    """Providers of sign-on."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def add(self, provider: Provider, *, actor: str) -> None:
        """Keep it; its groups are for the organisations that have the names now.

        Raises UserExists when one has the name, NamespaceUnknown for no organisation, and Refused
        for too many.
        """
        row = {
            "name": provider.name,
            "issuer": provider.issuer,
            "client_id": provider.client_id,
            "client_secret": provider.client_secret,
            "created": provider.created,
        }

        def work(connection: Connection) -> None:
            terms = _bound(connection, provider.terms)
            kept = {**row, "terms": msgspec.json.encode(terms).decode()}
            if not changed(connection, _ADD.on(connection), kept):
                raise UserExists(
                    f"there is a provider {provider.name} already: remove it first",
                    known=provider.name,
                )
            if connection.execute(_COUNT).scalar_one() > PROVIDERS_MAX:
                raise Refused(f"there are {PROVIDERS_MAX} providers already")
            told = {"provider": provider.name, "issuer": provider.issuer}
            record(connection, Event(Kind.SIGN_ON_ADDED, actor, payload=told))

        await self._connections.write(work)

    async def get(self, name: str) -> Provider:
        """Return it; raises ProviderUnknown."""
        row = await self._connections.row(GET, {"this": name})
        if row is None:
            raise unknown_provider(name)
        return _provider(row)

    async def list(self) -> Sequence[Provider]:
        """Return all, by name."""
        return [_provider(row) for row in await self._connections.rows(LIST)]

    async def remove(self, name: str, *, actor: str) -> None:
        """Have nobody come by it any more; sessions that it vouched for end.

        Accounts, roles and access tokens stay. Raises ProviderUnknown, and Refused for the last one
        while passwords are of administrators alone.
        """

        def work(connection: Connection) -> None:
            held = connection.execute(_HOLD_ALL).scalars().all()
            if [*held] == [name] and _are_passwords_off(connection):
                raise Refused(
                    "nobody but administrators could sign in: add another provider first, or let "
                    f"passwords count (`treescale cluster set {PASSWORDS_SETTING}={ON}`)"
                )
            if not changed(connection, _REMOVE, {"this": name}):
                raise unknown_provider(name)
            connection.execute(_END_SESSIONS, {"this": name})
            told = {"provider": name}
            record(connection, Event(Kind.SIGN_ON_REMOVED, actor, payload=told))

        await self._connections.write(work)

    async def set_passwords(self, text: str, *, actor: str, check: Check | None = None) -> None:
        """Have passwords count (`on`), or those of administrators alone (`off`).

        Raises SettingInvalid for the latter without a provider, and what `check` does.
        """

        def work(connection: Connection) -> None:
            if text == OFF and not connection.execute(_HOLD_ALL).all():
                raise SettingInvalid(
                    "nobody but administrators could sign in: add a provider first "
                    "(`treescale sign-on add`)"
                )
            change_setting(connection, PASSWORDS_SETTING, text, actor=actor, check=check)

        await self._connections.write(work)


class Identities:
    """Which accounts are bound to what providers call somebody."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def find(self, issuer: str, subject: str) -> Identity | None:
        """Return whose account it is."""
        row = await self._connections.row(FIND_IDENTITY, {"issuer": issuer, "subject": subject})
        return None if row is None else _identity(row)

    async def list(self, user: str) -> Sequence[Identity]:
        """Return those of one account, the oldest first."""
        rows = await self._connections.rows(LIST_IDENTITIES, {"user": user})
        return [_identity(row) for row in rows]

    async def unlink(self, user: str, identity_id: str, *, actor: str) -> None:
        """Have it lead to the account no more.

        Raises IdentityUnknown, and Refused when it is the only way in that is left.
        """

        def work(connection: Connection) -> None:
            held = connection.execute(_HOLD, {"user": user}).one_or_none()
            found = connection.execute(LIST_IDENTITIES, {"user": user}).all()
            if not changed(connection, _UNLINK, {"this": identity_id, "user": user}):
                raise IdentityUnknown(f"no identity {identity_id[:100]} of {user}")
            if len(found) == 1 and held is not None and held.password_hash == NO_PASSWORD:
                raise Refused("nobody could sign in to the account any more: set a password first")
            told = {"identity_id": identity_id}
            record(connection, of_user(Kind.SIGN_ON_UNLINKED, actor, user, told))

        await self._connections.write(work)

    async def prune(self, *, now: float) -> None:
        """Forget the states of sign-ons that are too old to be finished."""
        await self._connections.change(_PRUNE_STATES, {"now": now})


def _bound(connection: Connection, terms: Terms) -> Terms:
    """Return the terms with the number of each organisation; raises NamespaceUnknown."""
    groups = []
    for one in terms.groups:
        found = organisation_id(connection, one.organisation)
        if found is None:
            raise NamespaceUnknown(f"no organisation {one.organisation}")
        groups.append(msgspec.structs.replace(one, namespace_id=found))
    return msgspec.structs.replace(terms, groups=tuple(groups))


def _are_passwords_off(connection: Connection) -> bool:
    setting = connection.execute(GET_SETTING, {"this": PASSWORDS_SETTING}).scalar_one_or_none()
    return setting == OFF


def use_state(connection: Connection, state: str, expires: float) -> None:
    """Note that a sign-on was finished with this state; raises SignOnRefused the second time."""
    row = {"state": state, "expires": expires}
    if not changed(connection, _USE_STATE.on(connection), row):
        raise SignOnRefused("this sign-on was finished already: begin it anew")


def find_identity(connection: Connection, issuer: str, subject: str) -> Identity | None:
    """Return whose account it is, in the caller's transaction."""
    these = {"issuer": issuer, "subject": subject}
    row = connection.execute(FIND_IDENTITY, these).one_or_none()
    return None if row is None else _identity(row)


def see_identity(connection: Connection, identity: Identity, now: float) -> None:
    """Note that its user came by it."""
    these = {
        "this": identity.identity_id,
        "now": now,
        "new_email": identity.email,
        "new_provider": identity.provider,
    }
    connection.execute(_SEE, these)


def link_identity(connection: Connection, identity: Identity, actor: str) -> None:
    """Bind an account to it, in the caller's transaction.

    Raises UserUnknown, Refused for too many, and SignOnRefused when it is bound to another account.
    """
    if connection.execute(HOLD_USER, {"user": identity.user}).one_or_none() is None:
        raise unknown_user(identity.user)
    known = find_identity(connection, identity.issuer, identity.subject)
    if known is not None and known.user != identity.user:
        raise SignOnRefused("this login of the provider belongs to another account here")
    if known is not None:
        return
    if len(connection.execute(LIST_IDENTITIES, {"user": identity.user}).all()) >= IDENTITIES_MAX:
        raise Refused(f"an account has at most {IDENTITIES_MAX} identities: remove one first")
    row = {
        "identity_id": identity.identity_id,
        "issuer": identity.issuer,
        "subject": identity.subject,
        "user_name": identity.user,
        "provider": identity.provider,
        "email": identity.email,
        "created": identity.created,
        "seen": identity.seen,
    }
    if not changed(connection, _ADD_IDENTITY.on(connection), row):
        raise SignOnRefused("this login of the provider was just bound: begin the sign-on anew")
    told = {"provider": identity.provider, "issuer": identity.issuer}
    told["identity_id"] = identity.identity_id
    record(connection, of_user(Kind.SIGN_ON_LINKED, actor, identity.user, told))


def _provider(row: Row[Any]) -> Provider:
    terms = msgspec.json.decode(row.terms, type=Terms)
    return Provider(row.name, row.issuer, row.client_id, row.client_secret, terms, row.created)


def _identity(row: Row[Any]) -> Identity:
    return Identity(
        identity_id=row.identity_id,
        issuer=row.issuer,
        subject=row.subject,
        user=row.user_name,
        provider=row.provider,
        email=row.email,
        created=row.created,
        seen=row.seen,
    )


def unknown_provider(name: str) -> ProviderUnknown:
    """Return what is raised for a name that no provider has."""
    return ProviderUnknown(
        f"no provider of sign-on is called {name[:100]}: `treescale sign-on list` lists all"
    )

"""Links that are used once: an invitation makes an account, a reset gives one another password.

Only the SHA-256 of what stands in the link is here. Using it removes its row in the transaction
that does what it is for, so of two who use it one finds it gone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from sqlalchemy import Row, bindparam, delete, insert, select
from sqlalchemy.engine import Connection

from treescale.errors import LinkUnknown, NamespaceUnknown, UserExists
from treescale.metadata.accounts import (
    HOLD_USER,
    add_account,
    of_user,
    set_password_of,
    unknown_user,
)
from treescale.metadata.engine.connections import Connections
from treescale.metadata.events.recording import Kind, record
from treescale.metadata.namespaces import is_user, organisation_id
from treescale.metadata.organisations import grant_role
from treescale.metadata.records import NO_PASSWORD, User
from treescale.metadata.schema import links

INVITATION: Final = "invitation"
RESET: Final = "reset"

_OF_SECRET: Final = (
    links.c.secret_sha256 == bindparam("secret"),
    links.c.expires > bindparam("now"),
)
FIND: Final = select(links).where(*_OF_SECRET)
_TAKE: Final = delete(links).where(*_OF_SECRET).returning(*links.c)
LIST: Final = (
    select(links)
    .where(
        links.c.kind == bindparam("kind"),
        links.c.expires > bindparam("now"),
        links.c.link_id > bindparam("after"),
    )
    .order_by(links.c.link_id)
    .limit(bindparam("limit"))
)
_ADD: Final = insert(links)
_REMOVE: Final = (
    delete(links)
    .where(links.c.link_id == bindparam("this"), links.c.kind == INVITATION)
    .returning(links.c.user_name)
)
_REPLACE: Final = delete(links).where(
    links.c.user_name == bindparam("user"), links.c.kind == bindparam("kind")
)
_PRUNE: Final = delete(links).where(links.c.expires <= bindparam("now"))


class GivenRole(msgspec.Struct, frozen=True):
    """A role that an invitation gives."""

    namespace: str
    role: str
    repository: str = "*"
    namespace_id: int = 0
    """As it was invited to: one that gets the name later is another."""


@dataclass(frozen=True, slots=True)
class Link:
    """What a link is for. `user` is the name that an invitation gives, or whose password it is."""

    link_id: str
    kind: str
    user: str
    admin: bool
    roles: tuple[GivenRole, ...]
    actor: str
    """Who made it."""
    created: float
    expires: float


class Links:
    """Links that are used once."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def add(self, link: Link, secret_sha256: str) -> None:
        """Keep it, in place of an earlier one for the same.

        Raises UserUnknown for a reset of nobody's, UserExists for an invitation of somebody who is
        there, and NamespaceUnknown for a role where nothing is.
        """
        kind = Kind.USER_INVITED if link.kind == INVITATION else Kind.USER_RESET
        row = {
            "link_id": link.link_id,
            "secret_sha256": secret_sha256,
            "kind": link.kind,
            "user_name": link.user,
            "admin": link.admin,
            "actor": link.actor,
            "created": link.created,
            "expires": link.expires,
        }

        def work(connection: Connection) -> None:
            roles = _checked(connection, link)
            connection.execute(_REPLACE, {"user": link.user, "kind": link.kind})
            connection.execute(_ADD, {**row, "roles": msgspec.json.encode(roles).decode()})
            told = {"link_id": link.link_id, "expires": link.expires, "admin": link.admin}
            record(connection, of_user(kind, link.actor, link.user, told))

        await self._connections.write(work)

    async def find(self, secret_sha256: str, *, now: float) -> Link:
        """Return what a link is for, which it still is afterwards; raises LinkUnknown."""
        row = await self._connections.row(FIND, {"secret": secret_sha256, "now": now})
        if row is None:
            raise _unknown()
        return _link(row)

    async def list(self, kind: str, after: str, limit: int, *, now: float) -> Sequence[Link]:
        """Return a page of those that can be used, by id."""
        page = {"kind": kind, "after": after, "limit": limit, "now": now}
        return [_link(row) for row in await self._connections.rows(LIST, page)]

    async def withdraw(self, link_id: str, *, actor: str) -> None:
        """Have an invitation lead nowhere; raises LinkUnknown."""

        def work(connection: Connection) -> None:
            gone = connection.execute(_REMOVE, {"this": link_id}).one_or_none()
            if gone is None:
                raise LinkUnknown(
                    f"no invitation {link_id[:100]}: it was used, perhaps, or is over"
                )
            told = {"link_id": link_id}
            record(connection, of_user(Kind.USER_UNINVITED, actor, gone.user_name, told))

        await self._connections.write(work)

    async def accept(self, secret_sha256: str, password_hash: str, *, now: float) -> Link:
        """Make the account of an invitation; return that. Raises LinkUnknown, UserExists."""

        def work(connection: Connection) -> Link:
            return accept(connection, secret_sha256, password_hash, now)

        return await self._connections.write(work)

    async def reset(self, secret_sha256: str, password_hash: str, *, now: float) -> Link:
        """Give the account of a reset this password; raises LinkUnknown, UserUnknown."""

        def work(connection: Connection) -> Link:
            link = take(connection, secret_sha256, RESET, now)
            set_password_of(connection, link.user, password_hash, link.user)
            return link

        return await self._connections.write(work)

    async def prune(self, *, now: float) -> None:
        """Forget those whose time is over."""
        await self._connections.change(_PRUNE, {"now": now})


def take(connection: Connection, secret_sha256: str, kind: str, now: float) -> Link:
    """Use a link, in the transaction that does what it is for; raises LinkUnknown."""
    row = connection.execute(_TAKE, {"secret": secret_sha256, "now": now}).one_or_none()
    if row is None or row.kind != kind:
        raise _unknown()
    return _link(row)


def accept(
    connection: Connection, secret_sha256: str, password_hash: str = NO_PASSWORD, now: float = 0.0
) -> Link:
    """Make the account of an invitation, in the caller's transaction; see `Links.accept`."""
    link = take(connection, secret_sha256, INVITATION, now)
    user = User(link.user, password_hash, link.admin, now)
    add_account(connection, user, link.actor, adopt=False)
    for one in link.roles:
        if organisation_id(connection, one.namespace) == one.namespace_id:
            granted = (link.user, one.role, one.repository)
            grant_role(connection, one.namespace, granted, link.actor)
    return link


def _checked(connection: Connection, link: Link) -> list[GivenRole]:
    """Return the roles, each with whose it is; raises what keeps the link from being made."""
    if link.kind == RESET:
        if connection.execute(HOLD_USER, {"user": link.user}).one_or_none() is None:
            raise unknown_user(link.user)
        return []
    if is_user(connection, link.user):
        raise UserExists(
            f"user {link.user} exists already: `treescale user reset {link.user}`", known=link.user
        )
    if organisation_id(connection, link.user) is not None:
        raise UserExists(f"the organisation {link.user} exists already", known=link.user)
    roles: list[GivenRole] = []
    for one in link.roles:
        found = organisation_id(connection, one.namespace)
        if found is None and one.namespace != link.user:
            raise NamespaceUnknown(
                f"no organisation {one.namespace}: "
                f"`treescale org add {one.namespace} --owner USER` makes one"
            )
        roles.append(msgspec.structs.replace(one, namespace_id=found or 0))
    return roles


def _unknown() -> LinkUnknown:
    return LinkUnknown("this link was used, or its time is over: ask for another one")


def _link(row: Row[Any]) -> Link:
    roles = msgspec.json.decode(row.roles, type=tuple[GivenRole, ...])
    return Link(
        link_id=row.link_id,
        kind=row.kind,
        user=row.user_name,
        admin=bool(row.admin),
        roles=roles,
        actor=row.actor,
        created=row.created,
        expires=row.expires,
    )

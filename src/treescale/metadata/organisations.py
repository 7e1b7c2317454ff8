"""Organisations, and who was granted which role in them, or in a user's namespace.

Every change of what somebody was granted changes the generation of `member:NAME`, in its
transaction: bearer tokens of before are void, logins are not. An organisation has an owner at any
time: who takes a role away holds the namespace's row, and looks in a second statement.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    ColumnClause,
    Row,
    and_,
    bindparam,
    delete,
    func,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.engine import Connection

from treescale.cache.answers import AnswerCache
from treescale.errors import NamespaceUnknown, Refused, UserUnknown
from treescale.metadata.accounts import HOLD_USER, void
from treescale.metadata.engine.clock import DatabaseNow
from treescale.metadata.engine.connections import Connections, changed
from treescale.metadata.engine.upserts import insert_or_update_if
from treescale.metadata.events.recording import Event, Kind, record
from treescale.metadata.namespaces import (
    EVERY_REPOSITORY,
    IS_USER,
    ORGANISATION,
    OWNER,
    PRIVATE,
    REPOSITORIES,
    USER,
    HeldNamespace,
    begin_namespace,
    check_owner_left,
    free_namespace,
    hold_namespace,
    is_user,
    make_and_hold,
    members_of,
    robots_of,
    unknown_namespace,
)
from treescale.metadata.repositories import delete_repository
from treescale.metadata.schema import members, namespaces

ANONYMOUS_SETTING: Final = "anonymous"
"""While this setting is `off` nobody pulls without logging in, not even what is public."""
PASSWORDS_SETTING: Final = "passwords"
"""While this setting is `off` passwords of administrators alone count."""
KNOWN_SECONDS_MAX: Final = 900.0
"""For how long a role counts while the database is away."""
KNOWN_BYTES_MAX: Final = 4 * 1024 * 1024

_NAMED: Final = namespaces.c.name == bindparam("this")
_IS_ORGANISATION: Final[ColumnClause[Any]] = literal_column(f"namespaces.kind = '{ORGANISATION}'")
"""Spelled out, as the index has it: as a Boolean it had `= 1` behind it on SQLite, and no index."""
GET: Final = select(namespaces).where(_NAMED)
_PAGE: Final = (
    select(namespaces)
    .where(_IS_ORGANISATION, namespaces.c.name > bindparam("after"))
    .order_by(namespaces.c.name)
    .limit(bindparam("limit"))
)
LIST: Final = _PAGE
LIST_OF: Final = _PAGE.where(
    namespaces.c.namespace_id.in_(
        select(members.c.namespace_id).where(members.c.user_name == bindparam("user"))
    )
)
MEMBERS: Final = (
    select(members)
    .join(namespaces, namespaces.c.namespace_id == members.c.namespace_id)
    .where(
        _NAMED,
        or_(
            members.c.user_name > bindparam("after"),
            and_(
                members.c.user_name == bindparam("after"),
                members.c.repository > bindparam("after_repository"),
            ),
        ),
    )
    .order_by(members.c.user_name, members.c.repository)
    .limit(bindparam("limit"))
)
_HELD: Final = (
    select(namespaces.c.name, namespaces.c.created, members.c.role, members.c.repository)
    .join(namespaces, namespaces.c.namespace_id == members.c.namespace_id)
    .where(members.c.user_name == bindparam("user"))
    .order_by(members.c.repository)
)
HELD_IN: Final = _HELD.where(_NAMED)
HELD: Final = _HELD
_GRANT: Final = insert_or_update_if(
    members, ["role"], {"created": DatabaseNow()}, lambda new: members.c.role != new.role
)
_OF_USER: Final = and_(
    members.c.namespace_id == bindparam("row_id"), members.c.user_name == bindparam("user")
)
_REVOKE: Final = delete(members).where(_OF_USER).returning(members.c.role, members.c.repository)
_REVOKE_ONE: Final = (
    delete(members)
    .where(_OF_USER, members.c.repository == bindparam("glob"))
    .returning(members.c.role, members.c.repository)
)
_SET_VISIBILITY: Final = (
    update(namespaces)
    .where(
        namespaces.c.namespace_id == bindparam("row_id"),
        namespaces.c.visibility != bindparam("to"),
    )
    .values(visibility=bindparam("to"))
)
_COUNT_OF_USER: Final = select(func.count()).select_from(members).where(_OF_USER)
LEFT_MAX: Final = 500
"""Repositories that go with their organisation in one transaction: what was pushed just now."""
GRANTS_MAX: Final = 100
"""Of one user in one namespace: each is compared with every name asked for."""


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace; `visibility` is that of repositories that come into being there."""

    name: str
    kind: str
    visibility: str
    created: float | None
    """By the database's clock; None where nobody wrote it down."""


@dataclass(frozen=True, slots=True)
class Member:
    """A role that a user was granted, for the repositories that match a glob."""

    user: str
    role: str
    repository: str
    created: float


@dataclass(frozen=True, slots=True)
class Holding:
    """What a user was granted in one namespace: roles with their globs."""

    grants: tuple[tuple[str, str], ...] = ()
    created: float = 0.0
    """When the namespace came into being; 0 where nobody wrote it down."""


class Organisations:
    """Organisations and roles. `known` answers while the database is away, and only then."""

    def __init__(self, connections: Connections, known: AnswerCache[Holding]) -> None:
        self._connections = connections
        self._known = known

    async def add(self, name: str, owner: str, *, actor: str) -> None:
        """Create an organisation with its first owner; raises UserUnknown, UserExists."""

        def work(connection: Connection) -> None:
            row_id = begin_namespace(connection, name, kind=ORGANISATION, adopt=False)
            _hold_user(connection, owner)
            record(connection, Event(Kind.ORGANISATION_CREATED, actor, namespace=name))
            _grant(connection, (row_id, name), (owner, OWNER, EVERY_REPOSITORY), actor)

        await self._connections.write(work)

    async def get(self, name: str) -> Namespace:
        """Return an organisation, or a user's namespace; raises NamespaceUnknown."""
        row = await self._connections.row(GET, {"this": name})
        if row is not None:
            return _namespace(row)
        if await self._connections.row(IS_USER, {"this": name}) is None:
            raise unknown_namespace(name)
        return Namespace(name, USER, PRIVATE, None)  # whom 0.1.0 made, and who has pushed nothing

    async def check_owned(self, name: str) -> None:
        """Raise NamespaceUnknown unless it is an organisation's, or of a user who is there."""
        found = await self.get(name)
        if found.kind == USER and await self._connections.row(IS_USER, {"this": name}) is None:
            raise unknown_namespace(name)

    async def page(self, after: str, limit: int, *, user: str | None = None) -> list[Namespace]:
        """Return a page of the organisations, by name; with `user` of those she has a role in."""
        page = {"after": after, "limit": limit}
        if user is None:
            return [_namespace(row) for row in await self._connections.rows(LIST, page)]
        rows = await self._connections.rows(LIST_OF, {**page, "user": user})
        return [_namespace(row) for row in rows]

    async def members(self, name: str, after: tuple[str, str], limit: int) -> list[Member]:
        """Return a page of a namespace's grants, by user and glob; `after` is exclusive."""
        page = {"this": name, "after": after[0], "after_repository": after[1], "limit": limit}
        rows = await self._connections.rows(MEMBERS, page)
        return [Member(row.user_name, row.role, row.repository, row.created) for row in rows]

    async def holding(self, user: str, namespace: str) -> Holding:
        """Return what the user was granted in a namespace: perhaps nothing.

        While the database is away what it was within `KNOWN_SECONDS_MAX`.
        """
        return await self._known.read(namespace, user, self._holding, _size)

    async def holdings(self, user: str) -> Mapping[str, Holding]:
        """Return what the user was granted, by namespace."""
        rows = await self._connections.rows(HELD, {"user": user})
        found: dict[str, list[Row[Any]]] = {}
        for row in rows:
            found.setdefault(row.name, []).append(row)
        return {name: _held(of_one) for name, of_one in found.items()}

    async def grant(
        self, namespace: str, user: str, *, role: str, repository: str, actor: str
    ) -> None:
        """Grant a role for what matches a glob, in place of the one that the user had for it.

        Raises NamespaceUnknown, UserUnknown, LastOwner, and Refused for more than `GRANTS_MAX`.
        """

        def work(connection: Connection) -> None:
            grant_role(connection, namespace, (user, role, repository), actor)

        await self._connections.write(work)
        self._known.invalidate(namespace, user)

    async def revoke(
        self, namespace: str, user: str, *, repository: str | None, actor: str
    ) -> None:
        """Take a user's roles in a namespace away, or the one for this glob.

        Raises NamespaceUnknown, LastOwner, and UserUnknown when there is nothing to take.
        """

        def work(connection: Connection) -> None:
            held = hold_known(connection, namespace)
            these = {"row_id": held.row_id, "user": user}
            if repository is None:
                gone = connection.execute(_REVOKE, these).all()
            else:
                gone = connection.execute(_REVOKE_ONE, {**these, "glob": repository}).all()
            if not gone:
                what = "" if repository is None else f" for {repository}"
                raise UserUnknown(
                    f"{user} has no role in {namespace}{what}: `treescale org show {namespace}` "
                    "lists all"
                )
            if held.is_organisation:
                check_owner_left(connection, held.row_id, namespace)
            void(connection, f"member:{user}")
            for row in gone:
                told = {"user": user, "role": row.role, "repository": row.repository}
                event = Event(Kind.MEMBER_REVOKED, actor, namespace=namespace, payload=told)
                record(connection, event)

        await self._connections.write(work)
        self._known.invalidate(namespace, user)

    async def set_visibility(
        self,
        name: str,
        visibility: str,
        *,
        actor: str,
        check: Callable[[Namespace], None] | None = None,
    ) -> None:
        """Say what repositories are that come into being there.

        Raises NamespaceUnknown, and what `check` does of the namespace, which nobody else changes.
        """

        def work(connection: Connection) -> None:
            held = hold_known(connection, name)
            if check is not None:
                check(_namespace(connection.execute(GET, {"this": name}).one()))
            if changed(connection, _SET_VISIBILITY, {"row_id": held.row_id, "to": visibility}):
                told = {"visibility": visibility}
                event = Event(Kind.NAMESPACE_VISIBILITY, actor, namespace=name, payload=told)
                record(connection, event)

        await self._connections.write(work)

    async def remove(self, name: str, *, actor: str) -> list[str]:
        """Remove an organisation: its name is free, all roles end; return what was deleted with it.

        Those are at most `LEFT_MAX` repositories: whoever calls has deleted others before. Raises
        NamespaceUnknown, ReadOnly, and Refused while there are more repositories.
        """

        def work(connection: Connection) -> list[str]:
            held = hold_namespace(connection, name)
            if held is None or not held.is_organisation:
                raise NamespaceUnknown(f"no organisation {name}")
            page = {"this": name, "limit": LEFT_MAX + 1}
            left = list(connection.execute(REPOSITORIES, page).scalars())
            if len(left) > LEFT_MAX:
                raise Refused(f"there is a repository {left[0]}: delete it first")
            for repository in left:
                delete_repository(connection, repository, actor=actor, force=True)
            for robot in robots_of(connection, held.row_id):
                void(connection, f"token:{robot}")
            for user in members_of(connection, held.row_id):
                void(connection, f"member:{user}")
            free_namespace(connection, held.row_id, name)
            record(connection, Event(Kind.ORGANISATION_REMOVED, actor, namespace=name))
            return left

        return await self._connections.write(work)

    async def _holding(self, namespace: str, user: str) -> Holding:
        rows = await self._connections.rows(HELD_IN, {"this": namespace, "user": user})
        return _held(rows)


def grant_role(
    connection: Connection, namespace: str, granted: tuple[str, str, str], actor: str
) -> None:
    """Grant a user a role for a glob, in the caller's transaction; see `Organisations.grant`."""
    user, _, _ = granted
    held = hold_known(connection, namespace)
    _hold_user(connection, user)
    if user == namespace:
        raise Refused(f"{user} is the owner of the namespace {namespace}, always")
    if _grant(connection, (held.row_id, namespace), granted, actor):
        these = {"row_id": held.row_id, "user": user}
        if connection.execute(_COUNT_OF_USER, these).scalar_one() > GRANTS_MAX:
            raise Refused(f"{user} has {GRANTS_MAX} grants there: use patterns")
        if held.is_organisation:
            check_owner_left(connection, held.row_id, namespace)


def _grant(
    connection: Connection, namespace: tuple[int, str], granted: tuple[str, str, str], actor: str
) -> bool:
    """Grant a role to a user for a glob; return whether that changed anything."""
    row_id, name = namespace
    user, role, repository = granted
    row = {"namespace_id": row_id, "user_name": user, "role": role, "repository": repository}
    if not changed(connection, _GRANT.on(connection), row):
        return False
    void(connection, f"member:{user}")
    told = {"user": user, "role": role, "repository": repository}
    record(connection, Event(Kind.MEMBER_GRANTED, actor, namespace=name, payload=told))
    return True


def hold_known(connection: Connection, name: str) -> HeldNamespace:
    """Hold a namespace that is somebody's; raises NamespaceUnknown."""
    held = hold_namespace(connection, name)
    if held is not None and held.is_organisation:
        return held
    if not is_user(connection, name):
        raise unknown_namespace(name)
    return make_and_hold(connection, name)


def _hold_user(connection: Connection, name: str) -> None:
    if connection.execute(HOLD_USER, {"user": name}).one_or_none() is None:
        raise UserUnknown(f"no user {name}: `treescale user add {name}` makes one")


def _namespace(row: Row[Any]) -> Namespace:
    return Namespace(row.name, row.kind, row.visibility, row.created)


def _held(rows: Sequence[Row[Any]]) -> Holding:
    if not rows:
        return Holding()
    return Holding(tuple((row.role, row.repository) for row in rows), rows[0].created or 0.0)


def _size(held: Holding) -> int:
    return sum(len(role) + len(glob) for role, glob in held.grants)

"""Accounts: users, whose rights have changed, from where they were logged in to.

What voids bearer tokens is recorded in the transaction that does it. Every change of what a subject
may do draws the next number of one counter. The counter's row stays locked until that commits, so
whoever sees a number sees all before it, and `WHERE generation > :last` misses nothing. What is
read together with a credential is the counter: whatever changes afterwards has a higher number.

Version 0.1.0 knows none of this. It writes to `revocations`, by its own clock, and reads only
those. So each change is written there, too, and that time once more as `noted`, which 0.1.0
leaves as it is: a row where these differ is of 0.1.0, and `adopt` gives it a number.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from sqlalchemy import (
    Executable,
    Label,
    Row,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.engine import Connection

from treescale.errors import UserUnknown
from treescale.metadata.engine.clock import DatabaseNow
from treescale.metadata.engine.connections import Connections, changed
from treescale.metadata.engine.upserts import (
    Insert,
    Upsert,
    insert_or_update,
    insert_or_update_if,
)
from treescale.metadata.events.recording import Event, Kind, record
from treescale.metadata.namespaces import (
    HOLD_OWNED,
    USER,
    begin_namespace,
    check_administrator_left,
    check_owner_left,
    check_unchanged,
    hold_administrators,
    hold_namespace,
    members_of,
    robots_of,
    strip,
)
from treescale.metadata.records import Change, Changes, User
from treescale.metadata.schema import (
    counters,
    generations,
    hooks,
    known_addresses,
    links,
    revocations,
    sessions,
    users,
)

COUNTER: Final = "generation"
ADOPTED_AT_ONCE: Final = 1000

_DRAWN: Final = counters.c.value + 1


def _draw(insert: Insert) -> Executable:
    return (
        insert(counters)
        .values(name=COUNTER, value=1)
        .on_conflict_do_update(index_elements=["name"], set_={"value": _DRAWN})
        .returning(counters.c.value)
    )


def _later(new: Any) -> Any:
    """Return the later of the time that a row has and the one that it is to have."""
    return case((new > revocations.c.revoked, new), else_=revocations.c.revoked)


def _revoke(insert: Insert) -> Executable:
    new = insert(revocations).values(revoked=DatabaseNow())
    return new.on_conflict_do_update(
        index_elements=["subject"], set_={"revoked": _later(new.excluded.revoked)}
    ).returning(revocations.c.revoked)


_DRAW: Final = Upsert(_draw)
_REVOKE: Final = Upsert(_revoke)
_SET_GENERATION: Final = insert_or_update(generations, ["generation", "changed"])
_NOTE: Final = (
    update(revocations)
    .where(revocations.c.subject == bindparam("this"))
    .values(noted=bindparam("time"))
)
KNOWN_SUBJECT: Final = union_all(
    *(
        select(table.c.subject).where(table.c.subject == bindparam("this"))
        for table in (generations, revocations)
    )
)
SINCE: Final = (
    select(
        counters.c.value,
        generations.c.subject,
        generations.c.generation,
        generations.c.changed,
    )
    .select_from(counters.outerjoin(generations, generations.c.generation > bindparam("last")))
    .where(counters.c.name == COUNTER)
    .order_by(generations.c.generation)
    .limit(bindparam("limit"))
)
_UNNOTED: Final = or_(revocations.c.noted.is_(None), revocations.c.noted != revocations.c.revoked)
NOT_ADOPTED: Final = (
    select(revocations.c.subject, revocations.c.revoked)
    .where(_UNNOTED)
    .order_by(revocations.c.subject)
    .limit(ADOPTED_AT_ONCE)
)
_SAME: Final = generations.c.subject == revocations.c.subject
_NUMBERED: Final = exists().where(_SAME, generations.c.changed == revocations.c.revoked)
_NOTE_NUMBERED: Final = (
    update(revocations).where(_UNNOTED, _NUMBERED).values(noted=revocations.c.revoked)
)
"""What servers without the column gave a number: another would end who has logged in since."""
_BEFORE: Final = DatabaseNow() - bindparam("seconds")
_OLD_GENERATION: Final = (
    select(generations.c.subject).where(generations.c.changed < _BEFORE).limit(1)
)
_PRUNE_REVOCATIONS: Final = delete(revocations).where(
    revocations.c.revoked < _BEFORE, revocations.c.noted == revocations.c.revoked
)
_PRUNE_GENERATIONS: Final = delete(generations).where(
    generations.c.changed < _BEFORE, ~exists().where(_SAME)
)


def present() -> Label[int]:
    """Return the cluster's present generation, for the statement that reads a credential.

    One statement is one snapshot: whatever changed before has this number at most, whatever
    changes later a higher one.
    """
    value = select(counters.c.value).where(counters.c.name == COUNTER).scalar_subquery()
    return func.coalesce(value, 0).label("generation")


def void(connection: Connection, subject: str) -> None:
    """Void the subject's bearer tokens of before: part of the transaction that changes it."""
    drawn = _drawn(connection)
    changed = connection.execute(_REVOKE.on(connection), {"subject": subject}).scalar_one()
    _set_generation(connection, subject, drawn, changed)


def renew(connection: Connection, subject: str) -> None:
    """Void what an earlier subject of this name left behind, if one may have.

    Of one that was never there, or went so long ago that it was forgotten, nothing counts.
    """
    if connection.execute(KNOWN_SUBJECT, {"this": subject}).first() is not None:
        void(connection, subject)


def _drawn(connection: Connection) -> int:
    return int(connection.execute(_DRAW.on(connection)).scalar_one())


def _set_generation(connection: Connection, subject: str, drawn: int, changed: float) -> None:
    row = {"subject": subject, "generation": drawn, "changed": changed}
    connection.execute(_SET_GENERATION.on(connection), row)
    connection.execute(_NOTE, {"this": subject, "time": changed})


class Generations:
    """Whose rights have changed, numbered in the order of commits.

    What changes them is in `Users` and `keys.AccessTokens`. A number is never given out twice, not
    to a name that is removed and made again either.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def since(self, last: int, limit: int) -> Changes:
        """Return a page of the changes numbered higher than `last`: of each subject the latest."""
        rows = await self._connections.rows(SINCE, {"last": last, "limit": limit})
        if not rows:
            return Changes(0, ())
        found = [row for row in rows if row.subject is not None]
        return Changes(
            rows[0].value,
            tuple(Change(row.subject, row.generation, row.changed) for row in found),
        )

    async def adopt(self) -> int:
        """Give numbers to what servers of 0.1.0 beside this one have revoked; return how many."""
        if not await self._connections.rows(NOT_ADOPTED):
            return 0

        def work(connection: Connection) -> int:
            # The first number first: whoever else is at it has then committed, and left nothing.
            drawn = _drawn(connection)
            connection.execute(_NOTE_NUMBERED)
            found = connection.execute(NOT_ADOPTED).all()
            for more, row in enumerate(found):
                drawn = _drawn(connection) if more else drawn
                _set_generation(connection, row.subject, drawn, row.revoked)
            return len(found)

        return await self._connections.write(work)

    async def prune(self, seconds: float) -> None:
        """Forget what changed longer ago than that, by the database's clock.

        No bearer token that carries a lower number may count any more by then.
        """
        limits = {"seconds": seconds}
        if not await self._connections.rows(_OLD_GENERATION, limits):
            return

        def work(connection: Connection) -> None:
            connection.execute(_PRUNE_REVOCATIONS, limits)
            connection.execute(_PRUNE_GENERATIONS, limits)

        await self._connections.write(work)


_THIS_USER: Final = users.c.name == bindparam("this")

GET_USER: Final = select(users, present()).where(_THIS_USER)
LIST_USERS: Final = (
    select(users, present())
    .where(users.c.name > bindparam("after"))
    .order_by(users.c.name)
    .limit(bindparam("limit"))
)
_ADD_USER: Final = insert(users)
SET_PASSWORD: Final = update(users).where(_THIS_USER).values(password_hash=bindparam("new_hash"))
REMOVE_USER: Final = delete(users).where(_THIS_USER)
END_SESSIONS: Final = delete(sessions).where(sessions.c.user_name == bindparam("this"))
_REMOVE_LINKS: Final = (
    delete(links).where(links.c.user_name == bindparam("this")),
    delete(links).where(links.c.actor == bindparam("this")),
)
_REMOVE_HOOKS: Final = delete(hooks).where(hooks.c.namespace == bindparam("this"))


class Users:
    """Accounts."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def add(self, user: User, *, actor: str) -> None:
        """Create it, and void what an earlier one of its name left behind.

        Raises UserExists when a user or an organisation has the name.
        """
        await self._connections.write(partial(add_account, user=user, actor=actor))

    async def get(self, name: str) -> User:
        """Return it; raises UserUnknown."""
        row = await self._connections.row(GET_USER, {"this": name})
        if row is None:
            raise unknown_user(name)
        return _user(row)

    async def list(self, after: str, limit: int) -> list[User]:
        """Return a page by name."""
        rows = await self._connections.rows(LIST_USERS, {"after": after, "limit": limit})
        return [_user(row) for row in rows]

    async def set_password(
        self, name: str, password_hash: str, *, actor: str, generation: int | None = None
    ) -> None:
        """Change it, and with it the generation of `user:NAME`; all sessions end.

        Raises UserUnknown, and CredentialsInvalid when the account has changed since `generation`,
        if that is told.
        """

        def work(connection: Connection) -> None:
            set_password_of(connection, name, password_hash, actor, generation=generation)

        await self._connections.write(work)

    async def remove(self, name: str, *, actor: str) -> None:
        """Remove the account, its access tokens, robots and webhooks; change its generation.

        Its repositories stay; nobody has a role in its namespace any more. Raises UserUnknown,
        LastOwner when an organisation has no other owner, and LastAdministrator.
        """
        await self._connections.write(lambda connection: remove_account(connection, name, actor))


def add_account(connection: Connection, user: User, actor: str, *, adopt: bool = True) -> None:
    """Create an account, in the caller's transaction; see `Users.add`.

    Without `adopt` it is refused while repositories are left of an earlier one of its name.
    """
    begin_namespace(connection, user.name, kind=USER, adopt=adopt)
    kept = ("name", "password_hash", "admin", "created")
    connection.execute(_ADD_USER, {column: getattr(user, column) for column in kept})
    renew(connection, f"user:{user.name}")
    record(connection, of_user(Kind.USER_CREATED, actor, user.name, {"admin": user.admin}))


def remove_account(connection: Connection, name: str, actor: str) -> None:
    """Remove an account, in the caller's transaction; see `Users.remove`."""
    own = hold_namespace(connection, name)
    robots = [] if own is None else robots_of(connection, own.row_id)
    owned = connection.execute(HOLD_OWNED, {"user": name}).all()
    was_there = hold_administrators(connection)
    if changed(connection, REMOVE_USER, {"this": name}) == 0:
        raise unknown_user(name)
    for row in owned:
        check_owner_left(connection, row.namespace_id, row.name)
    check_administrator_left(connection, was_there=was_there)
    remove_links(connection, name)
    for user in [] if own is None else members_of(connection, own.row_id):
        void(connection, f"member:{user}")
    for robot in robots:
        void(connection, f"token:{robot}")
    if own is not None:
        strip(connection, own.row_id)
    connection.execute(_REMOVE_HOOKS, {"this": name})
    void(connection, f"user:{name}")
    record(connection, of_user(Kind.USER_REMOVED, actor, name))


def set_password_of(
    connection: Connection,
    name: str,
    password_hash: str,
    actor: str,
    *,
    generation: int | None = None,
) -> None:
    """Change a password, in the caller's transaction; see `Users.set_password`."""
    if changed(connection, SET_PASSWORD, {"this": name, "new_hash": password_hash}) == 0:
        raise unknown_user(name)
    if generation is not None:
        check_unchanged(connection, name, generation)
    connection.execute(END_SESSIONS, {"this": name})
    void(connection, f"user:{name}")
    record(connection, of_user(Kind.USER_PASSWORD, actor, name))


def remove_links(connection: Connection, name: str) -> None:
    """Have one-time links to an account lead nowhere, and those that it made as administrator."""
    for statement in _REMOVE_LINKS:
        connection.execute(statement, {"this": name})


def _user(row: Row[Any]) -> User:
    return User(
        name=row.name,
        password_hash=row.password_hash,
        admin=bool(row.admin),
        created=row.created,
        generation=row.generation,
        suspended=row.suspended,
    )


def of_user(
    kind: Kind, actor: str, name: str, payload: Mapping[str, object] | None = None
) -> Event:
    """Return what happened in a user's namespace, but to no repository in it."""
    return Event(kind, actor, namespace=name, payload=payload or {})


def unknown_user(name: str) -> UserUnknown:
    """Return what is raised for a name that nobody has."""
    return UserUnknown(f"no user {name}: `treescale user list` lists all")


TOUCH_SECONDS_MIN: Final = 60.0
"""So seldom it is written that a credential is used."""

HOLD_USER: Final = (
    select(users.c.name)
    .where(users.c.name == bindparam("user"))
    .with_for_update(read=True, key_share=True)
)

KNOWN_SECONDS: Final = 30 * 86_400.0
NOTED_SECONDS_MIN: Final = 86_400.0
ADDRESSES_MAX: Final = 64
"""Of each account."""

_THIS_ADDRESS: Final = (
    known_addresses.c.user_name == bindparam("user"),
    known_addresses.c.address == bindparam("address"),
)
KNOWS_ADDRESS: Final = select(known_addresses.c.seen).where(
    *_THIS_ADDRESS, known_addresses.c.seen > DatabaseNow() - bindparam("seconds")
)
NOTE_ADDRESS: Final = insert_or_update_if(
    known_addresses,
    [],
    {"seen": DatabaseNow()},
    lambda _: known_addresses.c.seen < DatabaseNow() - bindparam("seconds"),
)
OLDEST_ADDRESSES: Final = (
    select(known_addresses.c.address)
    .where(known_addresses.c.user_name == bindparam("user"))
    .order_by(known_addresses.c.seen.desc(), known_addresses.c.address)
    .offset(ADDRESSES_MAX)
)
FORGET_ADDRESS: Final = delete(known_addresses).where(*_THIS_ADDRESS)
_NOW: Final = select(DatabaseNow())
# With a number: PostgreSQL finds what is older than an expression that moves by reading all.
PRUNE_ADDRESSES: Final = delete(known_addresses).where(known_addresses.c.seen < bindparam("before"))


class KnownAddresses:
    """From which addresses accounts were logged in to lately, by the database's clock.

    An address is any text of the caller's choice. Of each account the `ADDRESSES_MAX` used last
    are kept, for `KNOWN_SECONDS`.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def knows(self, user: str, address: str) -> bool:
        """Return whether the account was logged in to from there within `KNOWN_SECONDS`."""
        return await self._seen(user, address, KNOWN_SECONDS)

    async def note(self, user: str, address: str) -> None:
        """Note a login from there; nothing happens for no user. At most one write a day each.

        It survives the end of every process, but perhaps not a power cut.
        """
        # Asked first without the writers' lock.
        if await self._seen(user, address, NOTED_SECONDS_MIN):
            return
        row = {"user_name": user, "address": address, "seconds": NOTED_SECONDS_MIN}

        def work(connection: Connection) -> None:
            if connection.execute(HOLD_USER, {"user": user}).one_or_none() is None:
                return
            connection.execute(NOTE_ADDRESS.on(connection), row)
            for one in connection.execute(OLDEST_ADDRESSES, {"user": user}).scalars().all():
                connection.execute(FORGET_ADDRESS, {"user": user, "address": one})

        await self._connections.write(work, durable=False)

    async def prune(self) -> int:
        """Forget those older than `KNOWN_SECONDS`; return how many."""

        def work(connection: Connection) -> int:
            now = connection.execute(_NOW).scalar_one()
            return changed(connection, PRUNE_ADDRESSES, {"before": now - KNOWN_SECONDS})

        return await self._connections.write(work)

    async def _seen(self, user: str, address: str, seconds: float) -> bool:
        this = {"user": user, "address": address, "seconds": seconds}
        return await self._connections.row(KNOWS_ADDRESS, this) is not None

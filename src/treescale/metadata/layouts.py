"""What all servers go by: the layouts, whose number is the lock, settings, and what is read-only.

Whether something is read-only is asked in each transaction that would change what a repository
holds. So once it was said, and that transaction is over, nothing changes any more.
"""

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

import msgspec
from sqlalchemy import (
    ColumnElement,
    Double,
    LargeBinary,
    Row,
    Table,
    Text,
    and_,
    bindparam,
    case,
    cast,
    exists,
    func,
    literal,
    not_,
    null,
    or_,
    select,
    text,
    true,
    update,
)
from sqlalchemy.engine import Connection

from treescale.errors import Corrupt, NameUnknown, ReadOnly, ReadOnlyCluster
from treescale.lease_times import (
    COLLECTION_SETTING,
    DIGITS_MAX,
    KEPT_SECONDS_MAX,
    LEASE_SECONDS,
    LEASE_SETTING,
    OFF,
    ON,
    READ_ONLY_SETTING,
    UNDELETE_SECONDS,
    UNDELETE_SETTING,
    UNITS,
    UNSAFE_SECONDS_MIN,
    UNTAGGED_SETTING,
    shown,
)
from treescale.log import get_logger
from treescale.metadata.engine.ahead import ahead
from treescale.metadata.engine.connections import Connections, changed
from treescale.metadata.engine.upserts import (
    insert_or_ignore,
    insert_or_update_if,
)
from treescale.metadata.events.recording import Event, Kind, record
from treescale.metadata.records import LayoutRecord, LayoutStore
from treescale.metadata.schema import (
    chunks,
    layouts,
    namespaces,
    owed,
    repositories,
    settings,
    upload_parts,
    users,
)
from treescale.metadata.settings.settings import GET_SETTING, PUT_SETTING, Check
from treescale.oci.names import namespace_of

LIST: Final = select(layouts).order_by(layouts.c.number.desc()).limit(bindparam("limit"))
LATEST: Final = select(layouts.c.number).order_by(layouts.c.number.desc()).limit(1)
_PROPOSE: Final = insert_or_ignore(layouts, returning=layouts.c.number)
_STORES: Final = msgspec.json.Decoder(tuple[LayoutStore, ...])

DIGITS: Final = "0123456789"
NOTED_DIGITS_MAX: Final = 11
"""Of a number that servers note among the settings: every time in seconds is a date."""
_NUMBER: Final = re.compile(rf"0*[0-9]{{1,{NOTED_DIGITS_MAX}}}(\.[0-9]{{1,6}})?")
_TOLD_MAX: Final = 32


def noted_number(name: str, text: str | None) -> float | None:
    """Return the number that servers have noted under the name of a setting; None for none.

    Any other text, written by hand, is none either, and is logged once: whoever reads it takes
    what is safe when nobody knows.
    """
    if text is None:
        return None
    if _NUMBER.fullmatch(text):
        return float(text)
    _tell_of(name, text)
    return None


@lru_cache(_TOLD_MAX)
def _tell_of(name: str, text: str) -> None:
    get_logger().warning("setting.unreadable", name=name, value=shown(text), taken_for="not known")


def has_digits(length: int) -> ColumnElement[bool]:
    """Return whether a setting has the form in which a number is sorted as text: so long."""
    digits = func.replace(settings.c.value, ".", "")
    return and_(func.length(settings.c.value) == length, func.ltrim(digits, DIGITS) == "")


# The first to note it sees whether others, who do not, were there before: then 0, "not known".
_NOTE: Final = ahead(
    insert_or_update_if(settings, ["value"], {}, lambda new: settings.c.value > new.value),
    "name value",
)
_LAYOUT_DIGITS: Final = 10
_SETTLE: Final = insert_or_update_if(
    settings,
    ["value"],
    {},
    lambda new: or_(settings.c.value < new.value, not_(has_digits(_LAYOUT_DIGITS))),
)
OLDEST_SETTING: Final = "oldest_layout"
_NOTED: Final = select(settings.c.value).where(settings.c.name == OLDEST_SETTING).scalar_subquery()
_FIRST: Final = literal(b"", LargeBinary())
_ANYTHING: Final = or_(
    exists(select(chunks.c.chunk).where(chunks.c.chunk >= _FIRST)),
    exists(select(owed.c.chunk).where(owed.c.chunk >= _FIRST)),
    exists(select(upload_parts.c.part).where(upload_parts.c.upload_id > "")),
)
_USED: Final = ahead(select(_NOTED.label("noted"), _ANYTHING.label("anything")))

FOR_EVER_SECONDS: Final = 3e16
"""So long what nothing holds is kept by default, and while `untagged` cannot be read."""


def seconds_setting(
    name: str,
    default: float,
    otherwise: float,
    *,
    least: float = 0.0,
    most: float = KEPT_SECONDS_MAX,
) -> ColumnElement[float]:
    """Return a setting that is a time, `24h`, as the statement finds it, in seconds.

    Read as `parse_seconds` reads it; `otherwise` is what any other text, or time, means. What
    decides in a transaction whether something is kept reads it in that transaction.
    """
    value = func.trim(settings.c.value)
    unit = func.ltrim(value, DIGITS)
    digits = func.rtrim(value, "".join(UNITS))
    seconds_of = case(UNITS, value=unit)
    is_time = and_(seconds_of.is_not(None), func.length(digits).between(1, DIGITS_MAX))
    seconds = cast(digits, Double) * seconds_of
    other: ColumnElement[float] = literal(otherwise, Double())
    # One after the other: what is no number must not be taken for one.
    read = case((not_(is_time), other), (seconds.between(least, most), seconds), else_=other)
    found = select(read).where(settings.c.name == name).scalar_subquery()
    return func.coalesce(found, literal(default, Double()))


def lease_seconds() -> ColumnElement[float]:
    """Return what all of `LeaseTimes` but the lease itself follows from, its `basis`.

    That is the cluster's lease, and a day where that is longer, or cannot be read.
    """
    day = LEASE_SECONDS
    return seconds_setting(LEASE_SETTING, day, day, least=UNSAFE_SECONDS_MIN, most=day)


def undelete_seconds() -> ColumnElement[float]:
    """Return how long what was deleted can be restored; a hundred years if nobody can tell."""
    return seconds_setting(UNDELETE_SETTING, UNDELETE_SECONDS, KEPT_SECONDS_MAX)


def untagged_seconds() -> ColumnElement[float]:
    """Return for how long what nothing holds is kept; a billion years when it is for ever."""
    least, never = UNSAFE_SECONDS_MIN, FOR_EVER_SECONDS
    return seconds_setting(UNTAGGED_SETTING, never, never, least=least)


class OldestLayout:
    """What one process has noted of the layouts by which chunks were placed."""

    def __init__(self) -> None:
        self._noted: int | None = None

    def note(self, connection: Connection, number: int | None) -> None:
        """Note the number in a transaction that builds on chunks placed by it, before its rows.

        As a rule that is known, and costs nothing; `done` says that the transaction counts.
        """
        if number is None or (self._noted is not None and self._noted <= number):
            return
        found = connection.execute(_USED).one()
        if found.noted is not None and _layout_noted(found.noted) <= number:
            return
        unknown = found.noted is None and found.anything
        row = {"name": OLDEST_SETTING, "value": _layout_text(0 if unknown else number)}
        connection.execute(_NOTE.on(connection), row)

    def done(self, number: int | None) -> None:
        """Know that the number is noted, durably."""
        if number is not None:
            self._noted = number if self._noted is None else min(number, self._noted)


class Layouts:
    """The layouts, numbered from 1. None is ever changed or taken back."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def latest(self) -> LayoutRecord | None:
        """Return the one in force, None before the first."""
        found = await self.list(1)
        return found[0] if found else None

    async def list(self, limit: int) -> list[LayoutRecord]:
        """Return the newest `limit`, newest first."""
        return [_layout(row) for row in await self._connections.rows(LIST, {"limit": limit})]

    async def oldest_used(self) -> int | None:
        """Return the lowest number of a layout by which anything was placed.

        `Blobs.commit` and `Uploads.advance` note it. 0 before anything was placed; None when
        that is not known: an older version has placed something.
        """
        row = await self._connections.row(_USED)
        assert row is not None
        if row.noted is None:
            return None if row.anything else 0
        return _layout_noted(row.noted) or None

    async def settle(self, number: int) -> None:
        """Note that whatever was placed by older layouts lies by this one now."""

        def work(connection: Connection) -> None:
            row = {"name": OLDEST_SETTING, "value": _layout_text(number)}
            connection.execute(_SETTLE.on(connection), row)

        await self._connections.write(work)

    async def propose(self, layout: LayoutRecord, *, actor: str) -> bool:
        """Put it in force when its number is the next; else False, and nothing changes.

        Of several callers that decide at once exactly one wins; the others look again.
        """
        row = {
            "number": layout.number,
            "copies": layout.copies,
            "created": layout.created,
            "stores": msgspec.json.encode(layout.stores).decode(),
        }
        told = {
            "number": layout.number,
            "copies": layout.copies,
            "stores": len(layout.stores),
        }

        def work(connection: Connection) -> bool:
            before = connection.execute(LATEST).scalar_one_or_none() or 0
            if layout.number != before + 1:
                return False
            # Another may have taken the number since, where writers are not alone.
            made = connection.execute(_PROPOSE.on(connection), row)
            if made.scalar_one_or_none() is None:
                return False
            record(connection, Event(Kind.LAYOUT_CHANGED, actor, payload=told))
            return True

        return await self._connections.write(work)


class ReadOnlyBy(StrEnum):
    """What is read-only, from the widest."""

    CLUSTER = "cluster"
    NAMESPACE = "namespace"
    REPOSITORY = "repository"


def is_cluster_read_only() -> ColumnElement[bool]:
    """Return whether the cluster is: also when nobody can read what somebody has set."""
    return exists(
        select(settings.c.name).where(settings.c.name == READ_ONLY_SETTING, settings.c.value != OFF)
    )


def read_only_by(
    namespace: ColumnElement[str], repository: ColumnElement[bool]
) -> ColumnElement[str | None]:
    """Return the widest that is read-only of what a repository is in, as ReadOnlyBy; or null.

    `namespace` is the name, `repository` whether the repository itself is.
    """
    of_namespace = exists(
        select(namespaces.c.namespace_id).where(namespaces.c.name == namespace, _IS_READ_ONLY)
    )
    return case(
        (is_cluster_read_only(), literal(ReadOnlyBy.CLUSTER.value, Text())),
        (of_namespace, literal(ReadOnlyBy.NAMESPACE.value, Text())),
        (repository, literal(ReadOnlyBy.REPOSITORY.value, Text())),
        else_=null(),
    )


_IS_READ_ONLY: Final = namespaces.c.read_only == true()
NAMED_READ_ONLY_BY: Final = read_only_by(
    bindparam("namespace", type_=Text()),
    exists(
        select(repositories.c.repository_id).where(
            repositories.c.name == bindparam("repository", type_=Text()),
            repositories.c.read_only == true(),
        )
    ),
)
"""The same of the parameters `repository` and `namespace`, also where there is no row of them."""
WHY: Final = select(NAMED_READ_ONLY_BY.label("why"))
# Who changes what a repository holds has a lock on its row, so that who sets it read-only waits.
HOLD_WRITABLE: Final = (
    select(read_only_by(repositories.c.namespace, repositories.c.read_only).label("why"))
    .where(repositories.c.name == bindparam("repository"))
    .with_for_update(read=True, key_share=True)
)
HOLD_WRITABLE_WHOLE: Final = HOLD_WRITABLE.with_for_update()
_WAIT_FOR_WRITERS: Final = text("LOCK TABLE repositories IN EXCLUSIVE MODE")
# As strong as a lock on one of its rows, so one who waits for writers waits for this, too.
_BE_A_WRITER: Final = text("LOCK TABLE repositories IN ROW SHARE MODE")
_COLLECTS: Final = select(
    exists(
        select(settings.c.name).where(
            or_(
                and_(settings.c.name == COLLECTION_SETTING, settings.c.value != ON),
                and_(settings.c.name == READ_ONLY_SETTING, settings.c.value != OFF),
            )
        )
    ).label("stopped")
)
_SET_NAMESPACE: Final = (
    update(namespaces)
    .where(namespaces.c.name == bindparam("this"), namespaces.c.read_only != bindparam("to"))
    .values(read_only=bindparam("to"))
)
_SET_REPOSITORY: Final = (
    update(repositories)
    .where(repositories.c.name == bindparam("this"), repositories.c.read_only != bindparam("to"))
    .values(read_only=bindparam("to"))
)
_IS_NAMESPACE: Final = select(namespaces.c.name).where(namespaces.c.name == bindparam("this"))
_IS_USER: Final = select(users.c.name).where(users.c.name == bindparam("this"))
_IS_REPOSITORY: Final = select(repositories.c.name).where(repositories.c.name == bindparam("this"))
_MAKE_NAMESPACE: Final = insert_or_ignore(namespaces)


def may_collect(connection: Connection) -> bool:
    """Return whether anything may be taken away for good, until this transaction ends."""
    _be_a_writer(connection)
    return not connection.execute(_COLLECTS).scalar_one()


def named(repository: str) -> Mapping[str, str]:
    """Return the parameters of what asks whether a repository is read-only."""
    return {"repository": repository, "namespace": namespace_of(repository)}


def check_writable(connection: Connection, repository: str, *, whole: bool = False) -> None:
    """Raise ReadOnly when nothing may be changed there; hold the repository, if it is there.

    The first lock of a transaction, with `whole` as strong as one that takes the repository away.
    """
    hold = HOLD_WRITABLE_WHOLE if whole else HOLD_WRITABLE
    refuse(repository, connection.execute(hold, {"repository": repository}).scalar_one_or_none())


def check_purgeable(connection: Connection, names: Iterable[str]) -> None:
    """Raise ReadOnly when nothing of one may be taken away for good, also once it is deleted."""
    _be_a_writer(connection)
    for name in {*names}:
        refuse(name, connection.execute(WHY, named(name)).scalar_one())


def is_read_only(connection: Connection, repository: str) -> bool:
    """Return whether nothing may be changed there, as of this statement."""
    return connection.execute(WHY, named(repository)).scalar_one() is not None


def refuse(repository: str, why: str | None) -> None:
    """Raise ReadOnly for what ReadOnlyBy says; nothing for None."""
    if why is None:
        return
    if why == ReadOnlyBy.CLUSTER:
        raise ReadOnlyCluster(
            "the registry is read-only for now: pulls go on, pushes and deletions have to wait. "
            "Try again later"
        )
    name = namespace_of(repository) if why == ReadOnlyBy.NAMESPACE else repository
    raise ReadOnly(
        f"the {why} {name} is read-only: pulls go on, and nothing is pushed or deleted there until "
        f"an administrator says `treescale repo read-only {name} off`"
    )


class ReadOnlySwitches:
    """What is read-only: the cluster, namespaces, repositories.

    When a switch returns, every transaction that changes what a repository holds, and did not see
    it, is over.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def cluster(self) -> bool:
        """Return whether the cluster is."""
        row = await self._connections.row(select(is_cluster_read_only().label("is_so")))
        return row is not None and bool(row.is_so)

    async def why(self, repository: str) -> ReadOnlyBy | None:
        """Return the widest that is, of what a repository is in; it need not be there."""
        row = await self._connections.row(WHY, named(repository))
        return None if row is None or row.why is None else ReadOnlyBy(row.why)

    async def of_namespace(self, name: str) -> bool:
        """Return whether the namespace itself is; raises NameUnknown."""
        return await self._flag(namespaces, name, "namespace")

    async def of_repository(self, name: str) -> bool:
        """Return whether the repository itself is; raises NameUnknown."""
        return await self._flag(repositories, name, "repository")

    async def set_cluster(self, *, read_only: bool, actor: str, check: Check | None = None) -> None:
        """Have all stay as it is, or end that; twice is once. Raises what `check` does."""
        value = ON if read_only else OFF

        def work(connection: Connection) -> None:
            wait_for_writers(connection)
            there = connection.execute(GET_SETTING, {"this": READ_ONLY_SETTING}).one_or_none()
            before = None if there is None else str(there.value)
            if check is not None:
                check(before)
            if (before or OFF) == value:
                return
            row = {"name": READ_ONLY_SETTING, "value": value}
            connection.execute(PUT_SETTING.on(connection), row)
            told = {"read_only": read_only}
            record(connection, Event(Kind.CLUSTER_READ_ONLY, actor, payload=told))

        await self._connections.write(work)

    async def set_namespace(self, name: str, *, read_only: bool, actor: str) -> None:
        """Do so with a namespace, also of a user who has pushed nothing; raises NameUnknown."""
        told = {"read_only": read_only}
        event = Event(Kind.NAMESPACE_READ_ONLY, actor, namespace=name, payload=told)

        def work(connection: Connection) -> None:
            wait_for_writers(connection)
            this = {"this": name}
            if connection.execute(_IS_NAMESPACE, this).first() is None:
                if connection.execute(_IS_USER, this).first() is None:
                    raise NameUnknown(f"no namespace {name}: no user has it, and no repository")
                connection.execute(_MAKE_NAMESPACE.on(connection), {"name": name})
            if changed(connection, _SET_NAMESPACE, {**this, "to": read_only}):
                record(connection, event)

        await self._connections.write(work)

    async def set_repository(self, name: str, *, read_only: bool, actor: str) -> None:
        """Do so with a repository; raises NameUnknown."""
        told = {"read_only": read_only}

        def work(connection: Connection) -> None:
            wait_for_writers(connection)
            if changed(connection, _SET_REPOSITORY, {"this": name, "to": read_only}):
                record(connection, Event(Kind.REPOSITORY_READ_ONLY, actor, name, payload=told))
            elif connection.execute(_IS_REPOSITORY, {"this": name}).first() is None:
                raise NameUnknown(f"no repository {name}")

        await self._connections.write(work)

    async def _flag(self, table: Table, name: str, noun: str) -> bool:
        row = await self._connections.row(
            select(table.c.read_only).where(table.c.name == bindparam("this")), {"this": name}
        )
        if row is None:
            raise NameUnknown(f"no {noun} {name}")
        return bool(row.read_only)


def wait_for_writers(connection: Connection) -> None:
    """Return when nobody else changes what a repository holds; they wait for this transaction.

    On SQLite writers are alone. Reads go on.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(_WAIT_FOR_WRITERS)


def _be_a_writer(connection: Connection) -> None:
    """Have whoever makes something read-only wait for this transaction, or wait for theirs."""
    if connection.dialect.name == "postgresql":
        connection.execute(_BE_A_WRITER)


def _layout_text(number: int) -> str:
    """Return it as text that sorts as numbers do."""
    return f"{number:0{_LAYOUT_DIGITS}d}"


def _layout_noted(text: str) -> int:
    return int(noted_number(OLDEST_SETTING, text) or 0)


def _layout(row: Row[Any]) -> LayoutRecord:
    try:
        stores = _STORES.decode(row.stores)
    except msgspec.MsgspecError as error:
        raise Corrupt(f"layout {row.number} in the database is no layout: {error}") from error
    return LayoutRecord(row.number, stores, row.copies, row.created)

"""How often, and when last, each tag and each digest of a repository was pulled.

Gathered in memory by each worker and added once a minute: what a crash loses is lost. What was
pulled meanwhile is told of with that write.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Double,
    Executable,
    Text,
    bindparam,
    case,
    delete,
    exists,
    select,
    tuple_,
)
from sqlalchemy.engine import Connection

from treescale.metadata.engine.connections import Connections
from treescale.metadata.engine.upserts import Insert, NewRow, Upsert
from treescale.metadata.events.recording import Event, Kind, record_all
from treescale.metadata.schema import (
    manifests,
    namespace_months,
    namespaces,
    pulls,
    repositories,
    settings,
    tags,
)
from treescale.metadata.usage.months import month_of

LOOKED_AT: Final = 500
SETTING: Final = "events-pulls"
"""The setting with which pulls are no events while it is `OFF`."""
OFF: Final = "off"


def _add() -> Upsert:
    names = ["repository_id", "reference", "pulled", "count"]
    rows = select(
        repositories.c.repository_id,
        bindparam("this", type_=Text()),
        bindparam("at", type_=Double()),
        bindparam("times", type_=BigInteger()),
    ).where(repositories.c.name == bindparam("repository", type_=Text()))

    def added(new: NewRow) -> dict[str, Any]:
        later = case((pulls.c.pulled > new.pulled, pulls.c.pulled), else_=new.pulled)
        return {"pulled": later, "count": pulls.c.count + new["count"]}

    keys = ["repository_id", "reference"]

    def make(insert: Insert) -> Executable:
        new = insert(pulls).from_select(names, rows)
        return new.on_conflict_do_update(index_elements=keys, set_=added(new.excluded))

    return Upsert(make)


_ADD: Final = _add()


def _add_sent() -> Upsert:
    names = ["month", "namespace_id", "pulled_bytes", "pulls"]
    rows = select(
        bindparam("month", type_=Text()),
        namespaces.c.namespace_id,
        bindparam("size", type_=BigInteger()),
        bindparam("times", type_=BigInteger()),
    ).where(namespaces.c.name == bindparam("namespace", type_=Text()))

    def added(new: NewRow) -> dict[str, Any]:
        return {name: namespace_months.c[name] + new[name] for name in ("pulled_bytes", "pulls")}

    keys = ["month", "namespace_id"]

    def make(insert: Insert) -> Executable:
        new = insert(namespace_months).from_select(names, rows)
        return new.on_conflict_do_update(index_elements=keys, set_=added(new.excluded))

    return Upsert(make)


_ADD_SENT: Final = _add_sent()
_KEY: Final = tuple_(pulls.c.repository_id, pulls.c.reference)
AFTER: Final = (
    select(
        pulls.c.repository_id,
        pulls.c.reference,
        (
            exists().where(
                tags.c.repository_id == pulls.c.repository_id, tags.c.name == pulls.c.reference
            )
            | exists().where(
                manifests.c.repository_id == pulls.c.repository_id,
                manifests.c.digest == pulls.c.reference,
            )
        ).label("needed"),
    )
    .where(tuple_(bindparam("row_id"), bindparam("after", type_=Text())) < _KEY)
    .order_by(pulls.c.repository_id, pulls.c.reference)
    .limit(LOOKED_AT)
)
_OFF: Final = select(settings.c.value).where(settings.c.name == SETTING, settings.c.value == OFF)
_THERE: Final = select(repositories.c.name).where(
    repositories.c.name.in_(bindparam("these", expanding=True))
)
_DROP: Final = delete(pulls).where(
    pulls.c.repository_id == bindparam("row_id"), pulls.c.reference == bindparam("this")
)


@dataclass(frozen=True, slots=True, order=True)
class Pulled:
    """How often something was pulled by one name, and when last (seconds since 1970)."""

    repository: str
    reference: str
    at: float
    times: int


@dataclass(frozen=True, slots=True, order=True)
class ImagePulls:
    """How often an image was pulled by a tag, or by its digest alone (no tag).

    Without either it is what was pulled of a repository beside what is told of one by one.
    """

    repository: str
    tag: str
    digest: str
    times: int


@dataclass(frozen=True, slots=True, order=True)
class Sent:
    """How many bytes of blobs of a namespace were sent, and how many manifests, until `at`."""

    namespace: str
    at: float
    size: int
    times: int


class PullCounts:
    """The counts of all workers."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def add(
        self,
        counts: Iterable[Pulled],
        images: Iterable[ImagePulls] = (),
        sent: Iterable[Sent] = (),
        *,
        actor: str,
    ) -> None:
        """Add these, and record an event for each of `images`, unless the cluster wants none.

        Of repositories that are not there any more nothing is kept.
        """
        # In one order everywhere, so that two workers never wait for each other.
        rows = [
            {"repository": one.repository, "this": one.reference, "at": one.at, "times": one.times}
            for one in sorted(counts)
        ]
        months = [_sent_row(one) for one in sorted(sent)]
        if not rows and not months:
            return

        told = sorted(images)

        def work(connection: Connection) -> None:
            if rows:
                connection.execute(_ADD.on(connection), rows)
            _record(connection, told, actor)
            if months:
                connection.execute(_ADD_SENT.on(connection), months)

        await self._connections.write(work, durable=False)

    async def prune(self) -> int:
        """Forget the pulls of what is gone; return how many rows that were. Reads them all."""
        found, row_id, after = 0, 0, ""
        while page := await self._connections.rows(AFTER, {"row_id": row_id, "after": after}):
            gone = [
                {"row_id": row.repository_id, "this": row.reference}
                for row in page
                if not row.needed
            ]
            if gone:
                await self._connections.write(_drop(gone), durable=False)
            found += len(gone)
            row_id, after = page[-1].repository_id, page[-1].reference
        return found


def _sent_row(one: Sent) -> dict[str, object]:
    return {
        "month": month_of(one.at),
        "namespace": one.namespace,
        "size": one.size,
        "times": one.times,
    }


def _record(connection: Connection, images: Sequence[ImagePulls], actor: str) -> None:
    if not images or connection.execute(_OFF).first() is not None:
        return
    these = sorted({one.repository for one in images})
    there = set(connection.execute(_THERE, {"these": these}).scalars())
    record_all(
        connection,
        [
            Event(
                Kind.IMAGE_PULLED,
                actor,
                one.repository,
                reference=one.tag or None,
                digest=one.digest or None,
                payload={"count": one.times},
            )
            for one in images
            if one.repository in there
        ],
    )


def _drop(gone: Sequence[dict[str, object]]) -> Callable[[Connection], None]:
    def work(connection: Connection) -> None:
        connection.execute(_DROP, gone)

    return work

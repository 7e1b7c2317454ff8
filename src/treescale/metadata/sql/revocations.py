"""Revocations in SQL. They are recorded by what causes them, in its transaction."""

from typing import Final

from sqlalchemy import bindparam, delete, select
from sqlalchemy.engine import Connection

from treescale.metadata.records import Revocation
from treescale.metadata.schema import revocations
from treescale.metadata.sql.connections import Connections
from treescale.metadata.sql.statements import insert_or_update

LIST: Final = (
    select(revocations.c.subject, revocations.c.revoked)
    .where(revocations.c.revoked >= bindparam("since"))
    .order_by(revocations.c.revoked, revocations.c.subject)
)
PRUNE: Final = delete(revocations).where(revocations.c.revoked < bindparam("before"))
_REVOKE: Final = insert_or_update(revocations, ["revoked"], later="revoked")


def revoke(connection: Connection, subject: str, *, now: float) -> None:
    """Record that the subject's bearer tokens of before are void; the latest time stays."""
    connection.execute(_REVOKE.on(connection), {"subject": subject, "revoked": now})


class SqlRevocations:
    """Implements `protocols.Revocations`."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def list(self, since: float) -> list[Revocation]:
        """Return the revocations recorded since then (the latest per subject)."""
        rows = await self._connections.rows(LIST, {"since": since})
        return [Revocation(subject=row.subject, revoked=row.revoked) for row in rows]

    async def prune(self, before: float) -> None:
        """Forget those older than the longest token life."""
        await self._connections.change(PRUNE, {"before": before})

"""How many connections a PostgreSQL lets us have, and whether that is enough."""

from dataclasses import dataclass
from typing import Final

from treescale.metadata.engine.hosts.opening import Opener

_LIMITS: Final = """
SELECT current_setting('max_connections')::int
     - current_setting('superuser_reserved_connections')::int
     - coalesce(current_setting('reserved_connections', true)::int, 0) AS server,
       (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user) AS role,
       (SELECT datconnlimit FROM pg_database WHERE datname = current_database()) AS database
"""
UNLIMITED: Final = -1


@dataclass(frozen=True, slots=True)
class ConnectionLimit:
    """How many connections all servers together may have."""

    allowed: int
    setting: str = "max_connections"
    """What says so, by the name that PostgreSQL has for it."""

    def advice(self, wanted: int) -> str:
        """Return what to do so that so many can be had; "" when they can."""
        if wanted <= self.allowed:
            return ""
        if self.setting == "max_connections":
            change = f"raise max_connections by {wanted - self.allowed} and restart PostgreSQL"
        else:
            change = f"raise the {self.setting} to {wanted}"
        return (
            f"{change}, have fewer --workers, or put pgbouncer between: under load requests would "
            "be answered 503"
        )


def lowest(server: int, role: int | None, database: int | None) -> ConnectionLimit:
    """Return the limit that counts, of those of the server, of our user and of the database."""
    found = ConnectionLimit(server)
    for limit, setting in (
        (role, "CONNECTION LIMIT of its role"),
        (database, "CONNECTION LIMIT of its database"),
    ):
        if limit is not None and UNLIMITED < limit < found.allowed:
            found = ConnectionLimit(limit, setting)
    return found


async def read_limit(opener: Opener) -> ConnectionLimit | None:
    """Return the limit; None through a pooler, which has as many as it says itself.

    Raises as the opener does.
    """
    opened = await opener.open()
    try:
        if opened.pooled:
            return None
        row = await opened.connection.fetchrow(_LIMITS)
        return lowest(row["server"], row["role"], row["database"])
    finally:
        await opened.close()

"""Databases with many accounts, written straight through the schema: nobody would make them by API.

Every secret can be told again from its number, so each access token, robot and session can log in.
Of each user there is as much in a large registry as in a small one: ten access tokens, a session,
roles in two organisations.
"""

import asyncio
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Table

from tests.postgres import connect
from treescale.auth.access_tokens import access_token_text, robot_secret_text, secret_sha256
from treescale.metadata import schema
from treescale.metadata.accounts import COUNTER
from treescale.metadata.records import NO_PASSWORD
from treescale.registry.people.sessions import encoded

TOKENS_OF_USER: Final = 10
ROLES_OF_USER: Final = 2
FIRST_ID: Final = 1_000
"""Of the namespaces and repositories: the server has made its own before."""
USED_LATER_SECONDS: Final = 7 * 86_400.0
"""A token that was used so long from now is not noted as used again."""
QUICK: Final = ("PRAGMA synchronous=OFF", "PRAGMA cache_size=-1048576", "BEGIN")

Values = tuple[Any, ...]
Rows = tuple[Table, Sequence[str], Iterable[Values]]


@dataclass(frozen=True, slots=True)
class Population:
    """How many there are; robots are spread over the organisations."""

    users: int
    organisations: int
    robots: int

    @property
    def tokens(self) -> int:
        """Return how many access tokens there are."""
        return self.users * TOKENS_OF_USER

    @property
    def administrators(self) -> int:
        """Return the number of the administrator's access token, which is for managing."""
        return self.tokens + TOKENS_OF_USER - 1

    def organisation_of(self, user: int) -> str:
        """Return an organisation in which the user is a writer."""
        return _organisation(user % self.organisations)

    def robot(self, number: int) -> str:
        """Return what a robot logs in as."""
        return f"{_organisation(number % self.organisations)}+ci{number}"


def is_used(number: int) -> bool:
    """Return whether it was used already: the first use of another is written down."""
    return number % 2 == 1


def is_for_managing(token: int) -> bool:
    """Return whether an access token is for the management API: one of each user is."""
    return token % TOKENS_OF_USER == TOKENS_OF_USER - 1


def user_of(token: int) -> int:
    """Return whose access token it is."""
    return token // TOKENS_OF_USER


def user_name(number: int) -> str:
    """Return a user's name; their order is not that of the numbers."""
    return f"u{number * 7919 % 1_000_003:07}"


def token_id(number: int) -> str:
    """Return what an access token is called by commands."""
    return f"{number:012x}"


def token_secret(number: int) -> str:
    """Return an access token's secret."""
    return access_token_text(_bytes("token", number))


def robot_secret(number: int) -> str:
    """Return a robot's secret."""
    return robot_secret_text(_bytes("robot", number))


def session_secret(number: int) -> str:
    """Return what is in the cookie of a user's session."""
    return encoded(_bytes("session", number))


def fill_sqlite(database: Path, of: Population, administrator: str) -> None:
    """Fill the tables of a SQLite file."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        for statement in QUICK:
            connection.execute(statement)
        for table, columns, rows in _rows(of, administrator):
            marks = ",".join("?" * len(columns))
            words = ",".join(columns)
            insert = f"INSERT INTO {table.name} ({words}) VALUES ({marks})"  # noqa: S608
            connection.executemany(insert, rows)
        connection.execute("COMMIT")
        connection.execute("ANALYZE")


def fill_postgres(url: str, of: Population, administrator: str) -> None:
    """Fill the tables of a database of PostgreSQL."""

    async def work() -> None:
        connection = await connect(url)
        for table, columns, rows in _rows(of, administrator):
            await connection.copy_records_to_table(table.name, records=rows, columns=columns)
        await connection.execute("VACUUM ANALYZE")
        await connection.close()

    asyncio.run(work())


def _rows(of: Population, administrator: str) -> Iterator[Rows]:
    now = time.time()  # noqa: TID251  the servers go by the machine's clock
    yield from _people(of, administrator, now)
    yield from _organisations(of, now)
    subjects = [f"member:{user_name(n)}" for n in range(of.users)]
    yield schema.revocations, ("subject", "revoked", "noted"), ((one, now, now) for one in subjects)
    yield (
        schema.generations,
        ("subject", "generation", "changed"),
        ((one, number, now) for number, one in enumerate(subjects, 1)),
    )
    yield schema.counters, ("name", "value"), [(COUNTER, of.users)]


def _people(of: Population, administrator: str, now: float) -> Iterator[Rows]:
    users = [user_name(number) for number in range(of.users)]
    yield (
        schema.users,
        ("name", "password_hash", "admin", "created"),
        ((name, NO_PASSWORD, False, now) for name in users),
    )
    first = FIRST_ID + of.organisations
    yield (
        schema.namespaces,
        ("namespace_id", "name", "kind", "created"),
        ((first + number, name, "user", now) for number, name in enumerate(users)),
    )
    later = now + USED_LATER_SECONDS

    def token(number: int, user: str) -> Values:
        allow = "api" if is_for_managing(number) else "pull,push"
        return (
            *(token_id(number), user, "bench", secret_sha256(token_secret(number))),
            *(allow, "*", now, None, later if is_used(number) else None),
        )

    columns = (
        *("token_id", "user_name", "label", "secret_sha256"),
        *("allow", "repository", "created", "expires", "last_used"),
    )
    theirs = (token(number, users[user_of(number)]) for number in range(of.tokens))
    yield schema.access_tokens, columns, theirs
    yield schema.access_tokens, columns, [token(of.administrators, administrator)]
    yield (
        schema.sessions,
        (
            *("session_id", "secret_sha256", "user_name", "provider", "address", "agent"),
            *("created", "proven", "seen"),
        ),
        (
            (
                *(f"{number:012x}", secret_sha256(session_secret(number)), name, "", "", ""),
                *(now, now, later),
            )
            for number, name in enumerate(users)
        ),
    )


def _organisations(of: Population, now: float) -> Iterator[Rows]:
    names = [_organisation(number) for number in range(of.organisations)]
    yield (
        schema.namespaces,
        ("namespace_id", "name", "kind", "created"),
        ((FIRST_ID + number, name, "organisation", now) for number, name in enumerate(names)),
    )
    yield (
        schema.repositories,
        ("repository_id", "name", "namespace", "namespace_id", "public", "created"),
        (
            (FIRST_ID + number, f"{name}/app", name, FIRST_ID + number, False, now)
            for number, name in enumerate(names)
        ),
    )

    def memberships(user: int) -> set[int]:
        return {(user + step) % of.organisations for step in range(ROLES_OF_USER)}

    def role(user: int) -> str:
        return "owner" if user < of.organisations else "writer"

    yield (
        schema.members,
        ("namespace_id", "user_name", "repository", "role", "created"),
        (
            (FIRST_ID + one, user_name(user), "*", role(user), now)
            for user in range(of.users)
            for one in memberships(user)
        ),
    )
    yield (
        schema.robots,
        (
            *("robot_id", "namespace_id", "name", "allow", "repository"),
            *("created", "actor", "last_used"),
        ),
        (
            (
                *(f"{n:016x}", FIRST_ID + n % of.organisations, f"ci{n}", "pull,push", "*"),
                *(now, "admin", now + USED_LATER_SECONDS if is_used(n) else None),
            )
            for n in range(of.robots)
        ),
    )
    yield (
        schema.robot_secrets,
        ("secret_sha256", "robot_id", "created"),
        ((secret_sha256(robot_secret(n)), f"{n:016x}", now) for n in range(of.robots)),
    )


def _organisation(number: int) -> str:
    return f"org{number * 7919 % 100_003:06}"


def _bytes(kind: str, number: int) -> bytes:
    return sha256(f"{kind} {number}".encode()).digest()

"""Database URLs: what a user writes, checked and mapped to a driver. Pure."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from treescale.errors import SettingInvalid

HOW: Final = "a database is sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME"
_SQLITE: Final = "sqlite:///"
_POSTGRES: Final = re.compile(r"postgres(?:ql)?://")
_SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


@dataclass(frozen=True, slots=True)
class Address:
    """Where the database is: a file's path (SQLite), or a server's URL (PostgreSQL)."""

    url: URL
    path: str | None
    """SQLite's file; None on PostgreSQL."""

    @property
    def file(self) -> Path | None:
        """Return SQLite's file by its absolute path; None on PostgreSQL."""
        return None if self.path is None else Path(self.path).absolute()


def parse_address(text: str) -> Address:
    """Return what `text` names; raises SettingInvalid, saying what to write instead.

    The message never repeats `text`: there may be a password in it.
    """
    if text.startswith(_SQLITE):
        return _sqlite(text.removeprefix(_SQLITE))
    if _POSTGRES.match(text):
        return _postgresql(text)
    raise SettingInvalid(f"{HOW}; this starts with neither sqlite:/// nor postgresql://")


def _sqlite(path: str) -> Address:
    """Return the address of a file. All of `path` is its name: there are no options after a '?'."""
    if not path or path.endswith("/") or path.startswith((":memory:", "file:")) or "\0" in path:
        raise SettingInvalid(f"{HOW}; PATH must be a file, such as treescale-data/treescale.db")
    return Address(URL.create("sqlite", database=path), path)


def _postgresql(text: str) -> Address:
    """Return the address of a server; libpq's sslmode is understood."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:
        raise SettingInvalid(f"{HOW}; this one cannot be read") from error
    if not url.database:
        raise SettingInvalid(f"{HOW}; NAME, the database's name, is missing")
    if "@" in (url.host or ""):
        raise SettingInvalid(f"{HOW}; write %40 for an @ in USER or PASSWORD")
    unknown = set(url.query) - {"sslmode", "host", "port"}
    if unknown:
        raise SettingInvalid(f"{HOW}; after '?' only sslmode, host and port are known")
    mode = url.query.get("sslmode")
    if mode is not None:
        if mode not in _SSL_MODES:
            raise SettingInvalid(f"sslmode is one of {', '.join(_SSL_MODES)}")
        url = url.difference_update_query(["sslmode"]).update_query_dict({"ssl": str(mode)})
    return Address(url.set(drivername="postgresql+asyncpg"), None)

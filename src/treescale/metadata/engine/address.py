"""Database URLs: what a user writes, checked and mapped to a driver. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from treescale.errors import SettingInvalid
from treescale.metadata.engine.hosts.host import PORT, Host, parse_hosts, split_authority

HOW: Final = "a database is sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME"
_SQLITE: Final = "sqlite:///"
_POSTGRES: Final = re.compile(r"postgres(?:ql)?://")
_KNOWN: Final = ("sslmode", "host", "port", "target_session_attrs")
_WRITABLE: Final = {"read-write": True, "primary": True, "any": False}
_SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


@dataclass(frozen=True, slots=True)
class Address:
    """Where the database is: a file's path (SQLite), or a server's URL (PostgreSQL)."""

    url: URL
    path: str | None
    """SQLite's file; None on PostgreSQL."""
    hosts: tuple[Host, ...] = ()
    """Where PostgreSQL may be, and `url` says nothing of it. Empty: where its own variables say."""
    needs_writable: bool = False
    """Whether only a host that takes writes will do. Else what cannot be written is read."""

    @property
    def file(self) -> Path | None:
        """Return SQLite's file by its absolute path; None on PostgreSQL."""
        return None if self.path is None else Path(self.path).absolute()

    @property
    def place(self) -> str:
        """Return which hosts it may be on, as people are told; PostgreSQL."""
        if not any(host.name for host in self.hosts):
            port = self.hosts[0].port if self.hosts else None
            return f"this machine:{port or PORT}"
        return ", ".join(map(str, self.hosts))


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
    """Return the address of a server, on one host or several, with the options that libpq has."""
    try:
        alone, authority = split_authority(text)
        url = make_url(alone)
    except (ArgumentError, ValueError) as error:
        raise SettingInvalid(f"{HOW}; this one cannot be read") from error
    if not url.database:
        raise SettingInvalid(f"{HOW}; NAME, the database's name, is missing")
    if "@" in (url.host or ""):
        raise SettingInvalid(f"{HOW}; write %40 for an @ in USER or PASSWORD")
    if set(url.query) - set(_KNOWN):
        raise SettingInvalid(f"{HOW}; after '?' only {', '.join(_KNOWN)} are known")
    hosts = _hosts(url, authority)
    attributes = _one_of("target_session_attrs", url, tuple(_WRITABLE))
    mode = _one_of("sslmode", url, _SSL_MODES)
    return Address(
        URL.create(
            "postgresql+asyncpg",
            url.username,
            url.password,
            database=url.database,
            query={} if mode is None else {"ssl": mode},
        ),
        None,
        hosts,
        len(hosts) > 1 if attributes is None else _WRITABLE[attributes],
    )


def _hosts(url: URL, authority: str) -> tuple[Host, ...]:
    name = url.host or ""
    if name or url.port is not None:
        port = "" if url.port is None else f":{url.port}"
        authority = (f"[{name}]" if ":" in name else name) + port
    try:
        return parse_hosts(authority, _words("host", url), _words("port", url))
    except ValueError as error:
        raise SettingInvalid(f"{HOW}, or HOST:PORT,HOST:PORT for several; {error}") from error


def _one_of(option: str, url: URL, known: Sequence[str]) -> str | None:
    """Return an option's value; raises SettingInvalid when it is not one of those that we know."""
    words = _words(option, url)
    if any(word not in known for word in words):
        raise SettingInvalid(f"{option} is one of {', '.join(known)}")
    return words[-1] if words else None


def _words(option: str, url: URL) -> tuple[str, ...]:
    """Return all values of an option after the '?'."""
    found = url.query.get(option, ())
    return (found,) if isinstance(found, str) else found

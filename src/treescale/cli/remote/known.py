"""The servers that somebody has logged in to, and the access token kept for each.

One file of one user, which nobody else may read, written whole or not at all. It has secrets: who
has it may do, until the tokens end or are revoked, what their users may.
"""

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from treescale.errors import SettingInvalid

FILE: Final = "treescale/servers.json"
_OTHERS: Final = 0o077
_FILE_MODE: Final = 0o600
_DIRECTORY_MODE: Final = 0o700
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class Kept(msgspec.Struct, frozen=True):
    """What is kept of a login: an access token, by its id and its secret."""

    user: str
    token_id: str
    secret: str
    expires: str | None = None
    insecure: bool = False
    """Whether it may go over plain HTTP through a network."""
    is_given: bool = False
    """Whether somebody made it elsewhere and gave it: then it is theirs to revoke."""


@dataclass(frozen=True, slots=True)
class KnownServers:
    """The logins in a file, by the address of the server."""

    path: Path

    def get(self, url: str) -> Kept | None:
        """Return the login; None without one. Raises SettingInvalid for a file others may read."""
        return self._read().get(url)

    def put(self, url: str, kept: Kept) -> None:
        """Keep a login in place of the one there is."""
        self._write({**self._read(), url: kept})

    def forget(self, url: str) -> None:
        """Keep none."""
        self._write({each: kept for each, kept in self._read().items() if each != url})

    def _read(self) -> dict[str, Kept]:
        try:
            with self.path.open("rb") as file:
                mode, content = os.fstat(file.fileno()).st_mode, file.read()
        except FileNotFoundError:
            return {}
        if mode & _OTHERS:
            raise SettingInvalid(
                f"{self.path} may be read by others, and has access tokens: "
                f"`chmod 600 {self.path}` ends that"
            )
        try:
            return msgspec.json.decode(content, type=dict[str, Kept])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise SettingInvalid(
                f"{self.path} cannot be read ({error}): remove it, and log in again"
            ) from None

    def _write(self, servers: Mapping[str, Kept]) -> None:
        folder = self.path.parent
        folder.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
        beside = folder / f".{self.path.name}.{secrets.token_hex(8)}"
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(servers), indent=2) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self.path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise


def known_servers(environment: Mapping[str, str]) -> KnownServers:
    """Return those of whoever types: below XDG_CONFIG_HOME, else ~/.config."""
    folder = environment.get("XDG_CONFIG_HOME", "")
    root = Path(folder) if Path(folder).is_absolute() else Path.home() / ".config"
    return KnownServers(root / FILE)


def server_url(text: str) -> str:
    """Return the address of a server as it is kept: `https://HOST[:PORT]`.

    Without a scheme it is https. Raises SettingInvalid for what is no such address.
    """
    wrong = SettingInvalid(
        f"{text!r} is not the address of a server: say https://HOST or https://HOST:PORT"
    )
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        port = parts.port
    except ValueError:
        raise wrong from None
    host = parts.hostname or ""
    more = parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc
    if parts.scheme not in ("http", "https") or not host or more:
        raise wrong
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + ("" if port is None else f":{port}")


def check_secure(url: str, *, insecure: bool) -> None:
    """Raise SettingInvalid when a secret would go over a network as it is."""
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK and not insecure:
        raise SettingInvalid(
            f"{url} is plain HTTP: whoever is on the way reads the password. Say https://, or "
            "--insecure when you trust the network"
        )

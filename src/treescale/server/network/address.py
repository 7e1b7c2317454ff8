"""Where a server listens, and how clients and other servers reach it."""

import contextlib
import errno
import ipaddress
import os
import socket
import ssl
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from treescale.config import Settings, parse_listen, unix_path
from treescale.errors import SettingInvalid
from treescale.http.connections.entrance import Door
from treescale.peer.address import read_address
from treescale.server.network.machine import address_for_others

BACKLOG: Final = 1024
"""Connections that the kernel keeps until a worker accepts them."""
UNIX_MODE: Final = 0o660
"""Who may connect through a socket file may claim to be anybody: the user, and the group."""
WILDCARDS: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104  not bound here, only recognised


@dataclass(frozen=True, slots=True)
class Listeners:
    """The sockets of a server: made before its workers are forked."""

    plain: Sequence[socket.socket]
    proxied: Sequence[socket.socket] = ()
    """Connections to these begin with a PROXY header."""
    metrics: Sequence[socket.socket] = ()
    """Connections to these get the page for Prometheus and nothing else."""
    redirecting: Sequence[socket.socket] = ()
    """Requests on these are told where HTTPS is."""

    def doors(self, context: ssl.SSLContext | None) -> list[Door]:
        """Return how each is served; a socket file is for proxies of this machine, without TLS."""
        local = socket.AF_UNIX
        doors = [Door(each, None if each.family == local else context) for each in self.plain]
        return doors + [Door(each, context, proxied=True) for each in self.proxied]

    @property
    def port(self) -> int | None:
        """Return the first port bound for clients; None when there are socket files only."""
        ports = [each.getsockname()[1] for each in self.plain if each.family != socket.AF_UNIX]
        return ports[0] if ports else None

    def close(self) -> None:
        """Close them, and remove the files; again does nothing."""
        for each in (*self.plain, *self.proxied, *self.redirecting, *self.metrics):
            if each.fileno() >= 0 and each.family == socket.AF_UNIX:
                with contextlib.suppress(FileNotFoundError):
                    Path(each.getsockname()).unlink()
            each.close()


def listen(settings: Settings) -> Listeners:
    """Return sockets bound to the listen addresses; raises SettingInvalid when one cannot be."""
    made: list[socket.socket] = []
    try:
        plain = [_bound("listen", text, settings, made) for text in settings.listen]
        proxied = [_bound("listen-proxy", text, settings, made) for text in settings.listen_proxy]
        redirecting = [
            _bound("redirect-listen", text, settings, made) for text in settings.redirect_listen
        ]
        told = [settings.metrics_listen] if settings.metrics_listen else []
        metrics = [_bound("metrics-listen", text, settings, made) for text in told]
    except SettingInvalid:
        Listeners(made).close()
        raise
    return Listeners(plain, proxied, metrics, redirecting)


def _bound(flag: str, text: str, settings: Settings, made: list[socket.socket]) -> socket.socket:
    path = unix_path(text)
    try:
        listener = _bind_tcp(text, settings) if path is None else _bind_file(path)
        made.append(listener)
        listener.listen(BACKLOG)
    except (OSError, ValueError) as wrong:  # ValueError: a host that cannot be looked up
        why = (wrong.strerror or str(wrong)) if isinstance(wrong, OSError) else "that is no host"
        what = "HOST:PORT" if path is None else "unix:/PATH"
        raise SettingInvalid(
            f"cannot listen on {text}: {why}; choose another with --{flag} {what}"
        ) from wrong
    listener.setblocking(False)  # noqa: FBT003  the standard library's signature
    return listener


def _bind_tcp(text: str, settings: Settings) -> socket.socket:
    host, port = parse_listen(text)
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, where = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and _has_ipv4_beside(port, settings):
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(where)
    except OSError:
        listener.close()
        raise
    return listener


def _has_ipv4_beside(port: int, settings: Settings) -> bool:
    """Say whether another address asks for IPv4 on this port, which `[::]` would take as well."""
    others = [
        *settings.listen,
        *settings.listen_proxy,
        *settings.redirect_listen,
        *filter(None, [settings.metrics_listen]),
    ]
    tcp = [parse_listen(text) for text in others if unix_path(text) is None]
    return any(":" not in host and other == port for host, other in tcp)


def _bind_file(path: str) -> socket.socket:
    """Return a socket bound to a file, in place of one that nobody listens on any more."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError(errno.EEXIST, "there is a file that is no socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1)
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                Path(path).unlink()
            else:
                raise OSError(errno.EADDRINUSE, "another process listens there")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 & ~UNIX_MODE)
    try:
        listener.bind(path)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(before)
    return listener


def advertised(settings: Settings, listeners: Listeners) -> str:
    """Return the URL by which other servers reach this one.

    Raises SettingInvalid when the name of this machine is none that others could use.
    """
    if settings.advertise:
        return settings.advertise
    scheme = "https" if settings.tls_self_signed or settings.tls_cert else "http"
    url = f"{scheme}://{address_text(listeners, settings)}"
    try:
        read_address(url)
    except ValueError as wrong:
        if not settings.database.startswith("sqlite:"):  # else nobody looks for this server
            raise SettingInvalid(
                f"other servers cannot reach this one at {url}: {wrong}; say --advertise URL"
            ) from wrong
    return url


def address_text(listeners: Listeners, settings: Settings) -> str:
    """Return the address as clients type it: the host as asked, the port as bound."""
    host, port = settings.host, listeners.port
    if host is None or port is None:
        return "localhost"
    if host in WILDCARDS:
        host = socket.gethostname()
    bracketed = f"[{host}]" if ":" in host else host
    return f"{bracketed}:{port}"


def client_address(settings: Settings, listeners: Listeners) -> str:
    """Return host and port as they work on other machines, before a repository's name.

    Where every address is listened on, that is one of ours: only some networks know our name.
    """
    url = settings.public_url or settings.advertise
    if url:
        return urlsplit(url).netloc
    own = address_for_others() if settings.host in WILDCARDS else None
    if own is None:
        return address_text(listeners, settings)
    return f"[{own}]:{listeners.port}" if ":" in own else f"{own}:{listeners.port}"


def is_loopback(host: str | None) -> bool:
    """Say whether nobody but this machine reaches `host`; None is a socket file."""
    if host is None:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

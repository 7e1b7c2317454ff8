"""Ports and limits of this machine."""

import errno
import resource
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from treescale.cli.doctor.finding import Finding, failure, fine, warning
from treescale.config import Settings, parse_listen, unix_path
from treescale.server.processes.process import FILES_WANTED

_LISTENS: Final = "0A"
_OURS: Final = ("ts-", "treescale")


def addresses(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield what is listened on, after the flag that says so."""
    for flag, texts in (
        ("--listen", settings.listen),
        ("--listen-proxy", settings.listen_proxy),
        ("--redirect-listen", settings.redirect_listen),
        ("--metrics-listen", (settings.metrics_listen,) if settings.metrics_listen else ()),
    ):
        yield from ((flag, text) for text in texts)


def port(flag: str, text: str) -> Finding:
    """Say whether an address can be listened on, or is by us."""
    name = f"{flag} {text}"
    path = unix_path(text)
    if path is not None:
        directory = Path(path).parent
        if directory.is_dir():
            return fine(name, "its directory is there")
        return failure(name, f"{directory} is not there", "make the directory of the socket file")
    host, number = parse_listen(text)
    try:
        family, kind, _, _, where = socket.getaddrinfo(
            host, number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, ValueError) as error:
        return failure(name, f"{host} is no host: {error}", f"say {flag} ADDRESS:PORT")
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(where)
        except OSError as error:
            return _taken(name, flag, number, error)
    return fine(name, "free")


def _taken(name: str, flag: str, number: int, error: OSError) -> Finding:
    """Say what is wrong with an address that cannot be bound."""
    if error.errno == errno.EADDRINUSE:
        holder = _holder(number)
        if holder.startswith(_OURS):
            return fine(name, "in use by treescale")
        who = holder or "a process of another user"
        return failure(name, f"in use by {who}", f"end that, or say another {flag}")
    if error.errno == errno.EACCES:
        advice = (
            "ports below 1024 are for root: AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit "
            f"of systemd, or {flag} with a port of 1024 or more"
        )
        return failure(name, "this user may not listen there", advice)
    advice = f"say {flag} with an address of this machine, or 0.0.0.0"
    return failure(name, error.strerror or str(error), advice)


def _holder(number: int) -> str:
    """Return the name of the process that listens on a port; "" when that cannot be seen."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            inodes |= listening(Path(f"/proc/net/{table}").read_text("ascii"), number)
    names = {f"socket:[{inode}]" for inode in inodes}
    found = ""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if any(str(each.readlink()) in names for each in (process / "fd").iterdir()):
                name = (process / "comm").read_text().strip()
                if name.startswith(_OURS):  # a worker; who began it may be called `python`
                    return name
                found = found or name
    return found


def listening(table: str, number: int) -> set[str]:
    """Return the inodes of the sockets that listen on a port, in the text of /proc/net/tcp."""
    found = set()
    for line in table.splitlines()[1:]:
        fields = line.split()
        local, state, inode = fields[1], fields[3], fields[9]
        if state == _LISTENS and int(local.rpartition(":")[2], 16) == number:
            found.add(inode)
    return found


def file_limit(hard: int | None = None) -> Finding:
    """Say whether enough files may be open; `hard` is the limit to judge, None this process's."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1] if hard is None else hard
    if limit < FILES_WANTED:
        advice = (
            "LimitNOFILE=65536 in the unit of systemd, `ulimit -Hn` in a shell, --ulimit for "
            "docker run; under load a server with few refuses connections"
        )
        return warning("open files", f"at most {limit:,}", advice)
    return fine("open files", f"at most {limit:,}, as this command was started")

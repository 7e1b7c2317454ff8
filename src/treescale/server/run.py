"""Running a server from its start to its end, and what people are told meanwhile.

The supervisor's process prepares what is prepared once (`start`), binds the port, and keeps the
others alive (`processes/supervisor`); it never touches a request.
"""

import asyncio
import os
import shlex
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Final

from aiohttp import http_parser

from treescale import __version__
from treescale.chunks.disk.lock import DirectoryLock
from treescale.clock import Clock, SystemClock
from treescale.config import DATABASE_FILE, Settings
from treescale.errors import SettingInvalid
from treescale.log import configure_logging, get_logger, hear_everything
from treescale.metadata.engine.address import parse_address
from treescale.metadata.engine.sqlite import compile_ahead, ready_engines
from treescale.metadata.engine.sqlite_start import note_clean_end
from treescale.server.data.migrating import migrating_apart
from treescale.server.data.right_database import NO_CONSENT, Consent
from treescale.server.network.address import Listeners, client_address, is_loopback, listen
from treescale.server.network.certificates import (
    CertificateFiles,
    certificate_files,
    checked,
    fingerprint,
)
from treescale.server.network.served_certificate import ServedCertificate
from treescale.server.processes.allocation import give_back_memory, keep_freed_memory
from treescale.server.processes.ending import apart, leave
from treescale.server.processes.process import (
    FILES_WANTED,
    raise_file_limit,
    ready_process,
    stop_at_once,
    teller,
)
from treescale.server.processes.service_manager import ServiceManager
from treescale.server.processes.supervisor import DRAIN_SECONDS, END_SECONDS, Kind, Supervisor
from treescale.server.shared import Shared, share
from treescale.server.start import Joined, leave_cluster, prepare
from treescale.server.walker import be_walker
from treescale.server.worker import be_worker

DEPART_SECONDS_MAX: Final = 5.0
"""For telling the cluster that this server has ended: the database's disk may hang."""


def serve(
    settings: Settings,
    admin_password: str | None,
    say: Callable[[str], None],
    consent: Consent = NO_CONSENT,
) -> None:
    """Run a server until a signal ends it; `say` gets what people must be told.

    `admin_password` is for the first administrator; None has one made up and shown. `consent` is
    what the operator has said of a database that seems wrong. Raises SettingInvalid,
    StoreUnusable, DatabaseUnavailable when the server cannot be started.
    """
    ready_process()
    keep_freed_memory()
    say = teller(say)
    set_up_logging(settings)
    stop_at_once()
    files = raise_file_limit()
    get_logger().debug("process.files", files_max=files)
    if files < FILES_WANTED:
        get_logger().warning("process.files", files_max=files)
        say(f"Warning: only {files} files may be open at once; {FILES_WANTED} and more are better:")
        say("  LimitNOFILE= in a unit of systemd, `ulimit -Hn` in a shell, --ulimit for docker run")
    if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
        raise SettingInvalid("aiohttp's C parser is missing; install aiohttp from its wheel")
    clock = SystemClock()
    manager = ServiceManager.of(os.environ, os.getpid(), clock=clock)
    with ExitStack() as parts:
        apart_until_joined = parts.enter_context(ExitStack())
        apart_until_joined.enter_context(migrating_apart(settings.database))
        listeners = parts.enter_context(closing(listen(settings)))
        lock = parts.enter_context(DirectoryLock())
        joined = asyncio.run(
            prepare(settings, listeners, lock, admin_password, clock, say, consent)
        )
        apart_until_joined.close()
        _run(settings, listeners, joined, lock, manager, clock, say)


def _run(
    settings: Settings,
    listeners: Listeners,
    joined: Joined,
    lock: DirectoryLock,
    manager: ServiceManager,
    clock: Clock,
    say: Callable[[str], None],
) -> None:
    """Run the processes of a server that is in its cluster, until a signal says stop."""
    tls = certificate_files(settings, clock, [place.path for place in joined.places])
    served = None if tls is None else ServedCertificate(tls, checked(tls)[0])
    if served is not None and served.expires <= clock.now():
        say(f"Warning: the certificate in {served.files.certificate} has expired: renew it")
    shared = share(settings, listeners, served, joined, lock.let_go, manager.pulse)
    shared.board.note_start(joined.clock_error, clock.monotonic())
    look_again = (lambda: None) if served is None else served.ask
    supervisor = Supervisor(
        kinds(shared), listeners, clock=clock, manager=manager, hung_up=look_again
    )
    tell_missing(joined, say)
    if shared.database_file is not None:
        compile_ahead()
        ready_engines(parse_address(settings.database), shared.database_file)
    give_back_memory()
    supervisor.start()
    announce(settings, listeners, joined, tls, say)
    supervisor.run()
    if supervisor.left_behind and shared.database_file is not None:
        leave()  # the disk that hangs may be the database's, and there is nobody to be told

    def end() -> None:
        asyncio.run(leave_cluster(settings, joined.server_id, shared.database_file))
        if shared.database_file is not None and not supervisor.left_behind:
            note_clean_end(shared.database_file.path)

    if not apart(end, DEPART_SECONDS_MAX):  # others find out 15 s later; the end is an end
        get_logger().warning("server.departed", said=False, reason="the database does not answer")
    if supervisor.left_behind:
        leave()


def kinds(shared: Shared) -> tuple[Kind, ...]:
    """Return the processes of a server, each kind with what it runs on the memory they share."""
    workers = Kind(
        "worker",
        partial(be_worker, shared),
        count=shared.settings.workers,
        needed=True,
        end_seconds=DRAIN_SECONDS + END_SECONDS,
        hung=shared.leader_lock.pass_on,
    )
    # A server without stores has nothing to walk, and the others walk theirs.
    walk = Kind(
        "walk",
        partial(be_walker, shared),
        count=1 if shared.places else 0,
        wanted=shared.walk_wanted.is_set,
    )
    return (workers, walk)


def tell_missing(joined: Joined, say: Callable[[str], None]) -> None:
    """Say which directories are not used, before anything is served without them."""
    for each in joined.missing:
        get_logger().error("data.missing", path=each.root, reason=each.why)
        say(f"MISSING: {each.root} is not used. {each.why}")


def announce(
    settings: Settings,
    listeners: Listeners,
    joined: Joined,
    tls: CertificateFiles | None,
    say: Callable[[str], None],
) -> None:
    """Tell people where the server is and what to type next."""
    scheme = "http" if tls is None else "https"
    address = client_address(settings, listeners)
    if listeners.metrics:
        host, port, *_ = listeners.metrics[0].getsockname()
        told = f"[{host}]" if ":" in host else host
        say(f"Metrics: http://{told}:{port}/metrics, for whoever reaches it")
    data = "none here (--no-store)" if settings.no_store else ", ".join(settings.data)
    say(f"TreeScale {__version__} serves {scheme}://{address} (workers: {settings.workers})")
    say(f"Data: {data}")
    unused = Path(settings.data[0]) / DATABASE_FILE
    if settings.database.startswith("postgres") and unused.exists():
        say(f"{unused} is not used any more: its users and repositories are not in this database")
    if joined.servers > 1:
        stores = len(joined.layout.stores)
        say(
            f"Cluster: {joined.servers} servers, {stores} stores, "
            f"{joined.layout.copies} copies of each chunk"
        )
    if settings.tls_self_signed and tls is not None:
        _say_how_to_trust(address, tls, say)
    if tls is None and not (settings.proxies or is_loopback(settings.host)):
        say("Plain HTTP: Docker speaks it with 127.0.0.0/8 alone. For other clients add")
        say(f"  --tls-self-signed (or a certificate), or {address} to their insecure-registries")
    if joined.first_start is not None:
        say(joined.first_start)
    say(f"In a browser: {scheme}://{address}/")
    say("Log in:")
    say(f"  docker login {shlex.quote(address)} --username admin")


def _say_how_to_trust(address: str, tls: CertificateFiles, say: Callable[[str], None]) -> None:
    """Say what makes Docker trust our own certificate, in commands for a client's shell."""
    directory = shlex.quote(f"/etc/docker/certs.d/{address}")
    trusted = shlex.quote(f"/etc/docker/certs.d/{address}/ca.crt")
    host, _, port = address.rpartition(":")
    reached = shlex.quote(address if host and port.isdecimal() else f"{address}:443")
    if tls.replaces:
        say(f"This certificate is new ({tls.replaces}): clients must trust it again.")
    say("Docker trusts this certificate after, as root on each client:")
    say(f"  mkdir -p {directory}")
    say(f"  openssl s_client -connect {reached} </dev/null | openssl x509 -out {trusted}")
    say(f"  openssl x509 -in {trusted} -noout -fingerprint -sha256")
    say("if the last one prints what ends in this; if not, somebody else has answered:")
    say(f"  {fingerprint(tls.certificate)}")


def set_up_logging(settings: Settings) -> None:
    """Have events go to standard error, as text for people and as JSON for everything else."""
    automatic = settings.log_format == "auto" and not sys.stderr.isatty()
    configure_logging(json=settings.log_format == "json" or automatic, level=settings.log_level)
    hear_everything()

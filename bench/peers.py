"""Starting and stopping what is measured: TreeScale, and the registries beside it."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from bench.registries import Listening, Registry
from bench.wire import Connection, Target
from tests.functional.programs import in_namespace

START_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.005
OURS: Final = "treescale"
CLIENT_TLS: Final = "OPENSSL_CONF"
PASSWORD: Final = "benchmark-password"  # noqa: S105  of a server that lives for minutes


@dataclass(frozen=True, slots=True)
class Certificate:
    """A self-signed certificate and its key, as files."""

    chain: Path
    key: Path


def certificate(directory: Path) -> Certificate:
    """Make one for localhost, with openssl: ECDSA P-256, as public authorities sign today."""
    made = Certificate(directory / "certificate.pem", directory / "key.pem")
    command = [
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
        *("-nodes", "-days", "2", "-subj", "/CN=localhost"),
        *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
        *("-keyout", str(made.key), "-out", str(made.chain)),
    ]
    subprocess.run(command, env=environment(), check=True, capture_output=True, timeout=60)
    return made


def environment() -> dict[str, str]:
    """Return what other programs run with: without the settings of our own TLS clients."""
    return {name: value for name, value in os.environ.items() if name != CLIENT_TLS}


@contextmanager
def treescale(
    directory: Path,
    *,
    certificate: Certificate | None = None,
    module: str = "treescale.cli.main",
    flags: Sequence[str] = (),
) -> Iterator[Target]:
    """Run our server on the directory, with its login, one worker per core, as it comes.

    Or as `flags` say; another `module` is for one that is made otherwise.
    """
    port = _free_port()
    tls = (
        ["--tls-cert", str(certificate.chain), "--tls-key", str(certificate.key)]
        if certificate
        else []
    )
    command = [
        *(sys.executable, "-m", module, "serve", "--data", str(directory)),
        *("--listen", f"127.0.0.1:{port}", *tls, *flags),
    ]
    with _running(
        command,
        {**environment(), "TREESCALE_ADMIN_PASSWORD": PASSWORD},
        _log(directory),
    ) as pid:
        chain = certificate.chain if certificate else None
        target = Target(OURS, port, "admin/bench", "admin", PASSWORD, chain, pid)
        wait_until_ready(target, "/readyz")
        yield target


class Place(Protocol):
    """A machine of its own: a network namespace with an address."""

    namespace: str
    address: str


@contextmanager
def peer(
    registry: Registry,
    directory: Path,
    *,
    certificate: Certificate | None = None,
    place: Place | None = None,
) -> Iterator[Target]:
    """Run another registry on the directory, without a login; on loopback, or at the place."""
    port, host = _free_port(), place.address if place else "127.0.0.1"
    inside = [*in_namespace(place.namespace)] if place else []
    directory.mkdir(parents=True, exist_ok=True)
    files = (certificate.chain, certificate.key) if certificate else None
    configuration = directory / "config.json"
    settings = registry.settings(Listening(directory, host, port, files))
    configuration.write_text(json.dumps(settings))  # which is YAML as well
    command = [*inside, registry.program, "serve", str(configuration)]
    variables = {**environment(), **registry.variables}
    with _running(command, variables, _log(directory)) as pid:
        chain = certificate.chain if certificate else None
        target = Target(registry.name, port, "bench/bench", certificate=chain, pid=pid, host=host)
        wait_until_ready(target, "/v2/")
        yield target


def wait_until_ready(target: Target, path: str) -> None:
    """Ask until the answer is 200; raises TimeoutError when it does not come."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            with Connection(target) as connection:
                if connection.ask("GET", path).status == 200:  # noqa: PLR2004  HTTP's OK
                    return
        except OSError:
            pass
        time.sleep(POLL_SECONDS)
    raise TimeoutError(f"{target.name} was not ready within {START_SECONDS} s")


@contextmanager
def _running(command: list[str], variables: dict[str, str], log: Path) -> Iterator[int]:
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=variables, stdout=output, stderr=output)
        try:
            yield process.pid
        except BaseException:
            sys.stderr.write(f"{command[0]}: the end of its log:\n{_end_of(log)}\n")
            raise
        finally:
            process.terminate()
            process.wait(timeout=START_SECONDS)


def _log(directory: Path) -> Path:
    return directory.with_name(f"{directory.name}.log")


def _end_of(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

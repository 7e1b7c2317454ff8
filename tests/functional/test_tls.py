"""HTTPS with the certificate the server made itself, trusted as its message says."""

import http.client
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.conftest import Serve, short_directory
from tests.functional.docker import Daemon, Docker
from tests.functional.programs import outcome, wait_until
from tests.functional.server import Options, Server
from tests.functional.wire import Wire
from tests.images import Image, Layout

HOST = socket.gethostname()
"""This machine's own name, which the certificate carries; dockerd is told that it means ::1, since
it never verifies what lies in 127.0.0.0/8."""


@pytest.fixture
def secure(serve: Serve) -> Server:
    return serve(Options(tls=True, host="::1"))


@pytest.fixture
def strict(tmp_path: Path, secure: Server) -> Iterator[Docker]:
    """Return docker on a daemon that resolves HOST to ::1 and looks for certificates in certs.d."""
    trusted = tmp_path / "certs.d"
    (trusted / f"{HOST}:{secure.port}").mkdir(parents=True)
    with short_directory() as home:
        daemon = Daemon(home, hosts=f"::1 {HOST}\n", trusted=trusted).start()
        yield Docker(daemon, tmp_path / "strict-config")
        daemon.stop()


def test_docker_trusts_the_certificate_where_certs_d_has_it(
    strict: Docker, secure: Server, busybox: Image, tmp_path: Path
) -> None:
    registry = f"{HOST}:{secure.port}"
    account = secure.add_user("grace")
    assert "certificate" in strict.login_refused(registry, account)
    trusted = tmp_path / "certs.d" / registry / "ca.crt"
    trusted.write_bytes(secure.certificate.read_bytes())
    assert "Login Succeeded" in strict.login(registry, account)
    name = f"{registry}/grace/busybox:1"
    strict.load(busybox, name, tmp_path / "layout")
    strict("push", name)
    found = strict("search", f"{registry}/busy")  # docker sends what it has over TLS alone
    assert "grace/busybox" in found
    strict.forget_images()
    strict("pull", name)
    assert strict.run(name) == "hello from busybox\n"


def test_skopeo_verifies_the_certificate(serve: Serve, busybox: Image, tmp_path: Path) -> None:
    server = serve(Options(tls=True))
    account = server.add_user("grace")
    source = Layout(tmp_path / "layout").tagged(busybox, "1")
    target = f"docker://{server.address}/grace/busybox:1"
    login = f"--dest-creds={account.name}:{account.password}"
    code, said = outcome("skopeo", "copy", login, source, target)
    assert code != 0
    assert "certificate" in said
    trusted = tmp_path / "trusted"
    trusted.mkdir()
    (trusted / "ca.crt").write_bytes(server.certificate.read_bytes())
    code, said = outcome("skopeo", "copy", f"--dest-cert-dir={trusted}", login, source, target)
    assert code == 0, said


def test_python_verifies_the_certificate_and_the_realm_is_https(serve: Serve) -> None:
    server = serve(Options(tls=True))
    context = ssl.create_default_context(cafile=str(server.certificate))
    connection = http.client.HTTPSConnection("127.0.0.1", server.port, context=context, timeout=10)
    connection.request("GET", "/v2/")
    answer = connection.getresponse()
    assert answer.status == http.client.UNAUTHORIZED
    assert f'realm="https://127.0.0.1:{server.port}/token"' in answer.headers["WWW-Authenticate"]
    connection.close()
    wire = Wire(server, server.add_user("grace"))
    digest = wire.push_blob("grace/app", b"over TLS")
    assert wire.pull_blob("grace/app", digest) == b"over TLS"


def test_the_server_says_how_docker_trusts_it_and_keeps_its_certificate(serve: Serve) -> None:
    server = serve(Options(tls=True))
    wait_until("it says so", lambda: "/etc/docker/certs.d" in server.log.read_text())
    before = server.certificate.read_bytes()
    assert server.stop() == 0
    server.start()
    assert server.certificate.read_bytes() == before
    assert server.certificate.with_name("tls.key").stat().st_mode & 0o077 == 0

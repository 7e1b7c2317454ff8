"""A certificate is renewed while clients pull: none fails, and what does not fit is refused."""

import http.client
import json
import os
import signal
import ssl
import threading
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from tests.functional.certificates import Authority, Secret, serial, served_by
from tests.functional.conftest import Serve
from tests.functional.programs import outcome, run, wait_until, workers_of
from tests.functional.server import Account, Options, Server
from tests.functional.wire import Wire
from tests.images import Image, Layout


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def secret(tmp_path: Path, authority: Authority) -> Secret:
    return Secret(tmp_path / "secret", authority.pair())


@pytest.fixture
def secure(serve: Serve, secret: Secret) -> Server:
    return serve(Options(tls=True, certificate=secret.files))


def events(server: Server, name: str) -> list[dict[str, Any]]:
    lines = [line for line in server.log.read_text().splitlines() if line.startswith("{")]
    return [found for line in lines if (found := json.loads(line))["event"] == name]


class Pulls:
    """skopeo, which pulls an image again and again, and verifies who it speaks with."""

    def __init__(self, source: str, account: Account, trusted: Path, home: Path) -> None:
        self.done, self.failed = 0, [""][1:]
        self._words = (
            *("skopeo", "copy", f"--src-cert-dir={trusted}"),
            *(f"--src-creds={account.name}:{account.password}", source),
        )
        self._home = home
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._pull, args=(n,)) for n in range(2)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _pull(self, number: int) -> None:
        while not self._stop.is_set():
            code, said = outcome(*self._words, f"dir:{self._home}/pulled{number}")
            self.done += 1
            if code:
                self.failed.append(said)


def test_clients_pull_through_rotations_and_none_fails(
    secure: Server, secret: Secret, authority: Authority, busybox: Image, tmp_path: Path
) -> None:
    account = secure.add_user("grace")
    trusted = tmp_path / "trusted"
    trusted.mkdir()
    (trusted / "ca.crt").write_bytes(authority.certificate.read_bytes())
    source = f"docker://{secure.address}/grace/busybox:1"
    run(
        *("skopeo", "copy", f"--dest-cert-dir={trusted}"),
        f"--dest-creds={account.name}:{account.password}",
        *(Layout(tmp_path / "layout").tagged(busybox, "1"), source),
    )
    long = LongPull(secure, account)
    with Pulls(source, account, trusted, tmp_path) as pulls:
        for kind in (("ec", "-pkeyopt", "ec_paramgen_curve:P-256"), ("rsa:2048",)):
            pair, before = authority.pair(kind=kind), pulls.done
            secret.swap(pair)
            if kind == ("rsa:2048",):
                os.kill(secure.program.pid, signal.SIGHUP)  # or within 5 s
            for _ in range(8):  # whichever worker answers
                wait_until(
                    "the new one is served",
                    lambda: served_by(secure.address) == serial(pair / "tls.crt"),  # noqa: B023
                )
            wait_until("pulls go on", lambda: pulls.done > before + 2)  # noqa: B023
    assert pulls.failed == []
    assert len(events(secure, "certificate.loaded")) == 2, "one of the workers says so"
    assert long.rest() == long.content, "a connection under way goes on as it began"


class LongPull:
    """A pull that has begun, and is read to its end later."""

    def __init__(self, server: Server, account: Account) -> None:
        wire = Wire(server, account)
        self.content = os.urandom(8_000_000)
        digest = wire.push_blob("grace/long", self.content)
        self._connection = server.connect()
        basic = b64encode(f"{account.name}:{account.password}".encode()).decode()
        headers = {"Authorization": f"Basic {basic}"}
        self._connection.request("GET", f"/v2/grace/long/blobs/{digest}", headers=headers)
        self._answer = self._connection.getresponse()
        self._begun = self._answer.read(1000)

    def rest(self) -> bytes:
        """Return all bytes of it."""
        whole = self._begun + self._answer.read()
        self._connection.close()
        return whole


def bad_pairs(authority: Authority, home: Path) -> Iterator[tuple[str, Path]]:
    """Yield pairs that nobody can be served with, and what is said of each."""
    good, other = authority.pair(), authority.pair()
    certificate, key = (good / "tls.crt").read_bytes(), (good / "tls.key").read_bytes()
    locked = home / "locked"
    run("openssl", "pkey", "-in", good / "tls.key", "-aes128", "-passout", "pass:x", "-out", locked)
    expired = authority.pair(days=-1)
    contents = {
        "of another certificate": (certificate, (other / "tls.key").read_bytes()),
        "breaks off": (certificate[: len(certificate) // 2], key),
        "passphrase": (certificate, locked.read_bytes()),
        "has expired on": (
            (expired / "tls.crt").read_bytes(),
            (expired / "tls.key").read_bytes(),
        ),
        "cannot read": (certificate, None),
    }
    for number, (said, (first, second)) in enumerate(contents.items()):
        place = home / f"bad{number}"
        place.mkdir()
        (place / "tls.crt").write_bytes(first)
        if second is not None:
            (place / "tls.key").write_bytes(second)
        yield said, place


def test_a_bad_pair_is_refused_and_a_worker_started_meanwhile_has_the_old_one(
    secure: Server, secret: Secret, authority: Authority, tmp_path: Path
) -> None:
    before = served_by(secure.address)
    workers = workers_of(secure.program.pid)
    for count, (said, pair) in enumerate(bad_pairs(authority, tmp_path), start=1):
        secret.swap(pair)
        os.kill(secure.program.pid, signal.SIGHUP)
        wait_until(
            f"{said} is told of",
            lambda: len(events(secure, "certificate.refused")) == count,  # noqa: B023
        )
        assert said in events(secure, "certificate.refused")[-1]["reason"]
        assert served_by(secure.address) == before
    for pid in workers:
        secure.kill_worker(pid)
    wait_until("others are there", lambda: len(set(workers_of(secure.program.pid))) == 2)
    wait_until("they serve", secure.is_ready)
    assert served_by(secure.address) == before
    good = authority.pair()
    secret.swap(good)
    wait_until("a good one is taken", lambda: served_by(secure.address) == serial(good / "tls.crt"))
    (server,) = secure.status()["servers"]
    assert server["certificate_expires"] is not None


def test_a_server_starts_with_a_certificate_that_has_expired_and_says_so(
    serve: Serve, authority: Authority
) -> None:
    expired = authority.pair(days=-1)
    server = serve(Options(tls=True, certificate=(expired / "tls.crt", expired / "tls.key")))
    assert "has expired: renew it" in server.log.read_text()
    wait_until("it is in the log", lambda: bool(events(server, "certificate.expired")))
    trusting = ssl.create_default_context(cafile=str(authority.certificate))
    connection = http.client.HTTPSConnection("127.0.0.1", server.port, context=trusting)
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        connection.request("GET", "/v2/")
    connection.close()

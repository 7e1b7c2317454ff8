"""Certificates made by openssl, stored as Kubernetes stores them, and asked for by it."""

import itertools
import re
from pathlib import Path

from tests.functional.programs import outcome, run

NAMES = "subjectAltName=IP:127.0.0.1,DNS:localhost"
_numbers = itertools.count(1)


class Authority:
    """Signs certificates with openssl."""

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        self.certificate = home / "ca.crt"
        self._key = home / "ca.key"
        new = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
        about = ("-nodes", "-subj", "/CN=authority of a test", "-days", "30")
        run(*new, *about, "-keyout", self._key, "-out", self.certificate)

    def pair(self, *, days: int = 20, kind: tuple[str, ...] = ("rsa:2048",)) -> Path:
        """Return a directory with tls.crt and tls.key; below 0 days it has expired."""
        home = self.home / f"pair{next(_numbers)}"
        home.mkdir()
        request = home / "request"
        subject = ("-nodes", "-subj", "/CN=server of a test", "-addext", NAMES)
        run(
            *("openssl", "req", "-newkey", *kind, *subject),
            *("-keyout", home / "tls.key", "-out", request),
        )
        run(
            *("openssl", "x509", "-req", "-in", request, "-copy_extensions", "copy"),
            *("-CA", self.certificate, "-CAkey", self._key, "-days", str(days)),
            *("-out", home / "tls.crt"),
        )
        return home


class Secret:
    """A directory as Kubernetes mounts a secret: names lead through `..data`, which is swapped."""

    def __init__(self, home: Path, first: Path) -> None:
        home.mkdir()
        self._home = home
        self.files = (home / "tls.crt", home / "tls.key")
        self.swap(first)
        for file in self.files:
            file.symlink_to(f"..data/{file.name}")

    def swap(self, pair: Path) -> None:
        """Have the names lead to another pair, in one step."""
        following = self._home / "..data_tmp"
        following.symlink_to(pair)
        following.rename(self._home / "..data")


def serial(certificate: Path) -> str:
    """Return a certificate's serial number."""
    return run("openssl", "x509", "-in", certificate, "-noout", "-serial").strip()


def served_by(address: str) -> str:
    """Return the serial number of the certificate that is served there, as openssl sees it."""
    _, said = outcome("openssl", "s_client", "-connect", address, "-showcerts", text_in="")
    pem = re.search("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", said, re.DOTALL)
    assert pem is not None, said
    return run("openssl", "x509", "-noout", "-serial", text_in=pem[0]).strip()

"""A certificate with its key, read at one moment: whether a server can be reached with it.

What is judged is what is used: the bytes that were read, and not files that may be half replaced by
then. So a pair that is refused leaves the one in use as it was.
"""

import errno
import os
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import Final

from cryptography import x509

from treescale.errors import SettingInvalid

_MARK: Final = re.compile(rb"-----(BEGIN|END) ([A-Z0-9 ]+)-----")
PAIR_BYTES_MAX: Final = 1024 * 1024
"""More is no certificate with its chain."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate, with its chain, and its key, as PEM."""

    certificate: bytes
    key: bytes

    @property
    def leaf(self) -> x509.Certificate | None:
        """Return the server's own certificate; None for one that only OpenSSL can read.

        That one is served all the same.
        """
        try:
            return x509.load_pem_x509_certificate(self.certificate)
        except ValueError:
            return None

    @property
    def expires(self) -> float:
        """Return when it ends, in seconds since 1970; infinite when nobody knows."""
        return inf if self.leaf is None else self.leaf.not_valid_after_utc.timestamp()


def read_pair(certificate: Path, key: Path) -> KeyPair:
    """Return what the files hold now; raises SettingInvalid when one cannot be read."""
    return KeyPair(_read(certificate), _read(key))


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(PAIR_BYTES_MAX + 1)
    except OSError as error:
        denied = error.errno in (errno.EACCES, errno.EPERM)
        hint = ": let the user that the server runs as read it" if denied else ""
        raise SettingInvalid(f"cannot read {path} for TLS: {error.strerror}{hint}") from error
    if len(content) > PAIR_BYTES_MAX:
        raise SettingInvalid(f"{path} is no certificate or key: it has more than 1 MiB")
    return content


def context_of(pair: KeyPair) -> ssl.SSLContext:
    """Return what a TLS server needs; raises SettingInvalid, saying what is wrong with the pair."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # All suites that are left are strong; the client knows which its processor does fast.
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    asked: list[bool] = []

    def passphrase() -> str:  # without one, OpenSSL would ask at the terminal, and wait
        asked.append(True)
        return ""

    with _as_file(pair.certificate) as certificate, _as_file(pair.key) as key:
        try:
            context.load_cert_chain(certificate, key, password=passphrase)
        except ssl.SSLError as wrong:
            raise SettingInvalid(_why(pair, wrong.reason, encrypted=bool(asked))) from wrong
    _check_whole(pair)
    try:
        _ = pair.leaf
    except ValueError as wrong:
        raise SettingInvalid(f"the certificate cannot be read: {wrong}") from wrong
    return context


def judged(pair: KeyPair, now: float) -> ssl.SSLContext:
    """Return what serves with a pair that is to replace another.

    Raises SettingInvalid also when clients would refuse it for its time.
    """
    context = context_of(pair)
    leaf = pair.leaf
    if leaf is None:
        return context
    if leaf.not_valid_after_utc.timestamp() <= now:
        raise SettingInvalid(
            f"the certificate has expired on {_day(leaf.not_valid_after_utc)}: renew it"
        )
    if leaf.not_valid_before_utc.timestamp() > now:
        raise SettingInvalid(
            f"the certificate begins on {_day(leaf.not_valid_before_utc)} only: is the clock of "
            "this machine right? It is taken by itself then"
        )
    return context


def _why(pair: KeyPair, reason: str | None, *, encrypted: bool) -> str:
    """Return what is wrong with a pair that OpenSSL does not take, and what to do."""
    if reason == "KEY_VALUES_MISMATCH":
        return (
            "the key is that of another certificate: put the key there that the certificate was "
            "made with, or both anew"
        )
    if encrypted:
        return "the key must be one without a passphrase: `openssl pkey -in OLD -out NEW`"
    _check_whole(pair)
    said = f" (OpenSSL: {reason})" if reason else ""
    return f"the first must hold a certificate, the second its key, in PEM{said}"


def _check_whole(pair: KeyPair) -> None:
    """Raise SettingInvalid when a file breaks off, or does not hold what it should."""
    for content, kind in ((pair.certificate, b"CERTIFICATE"), (pair.key, b"PRIVATE KEY")):
        what = kind.decode().lower()
        marks = [(word, name) for word, name in _MARK.findall(content) if name.endswith(kind)]
        if not marks:
            raise SettingInvalid(f"there is no {what} in PEM in the file for it")
        if [word for word, _ in marks] != [b"BEGIN", b"END"] * (len(marks) // 2):
            raise SettingInvalid(f"the file with the {what} breaks off: write it whole")


def _day(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """Lend a name under which OpenSSL reads these bytes: it takes files alone."""
    descriptor = os.memfd_create("treescale-pair")
    try:
        os.write(descriptor, content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)

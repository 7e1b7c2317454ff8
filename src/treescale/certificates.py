"""TLS: loading certificate files, and making a self-signed one that Docker can be told to trust."""

import ipaddress
import os
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from treescale.errors import SettingInvalid

valid_days: Final = 3650


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where a certificate and its key lie, as PEM."""

    certificate: Path
    key: Path


def server_context(files: CertificateFiles) -> ssl.SSLContext:
    """Return what a TLS server needs; raises SettingInvalid when the files do not fit."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # All suites that are left are strong; the client knows which its processor does fast.
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    for path in (files.certificate, files.key):
        try:
            path.read_bytes()
        except OSError as error:
            raise SettingInvalid(f"cannot read {path} for TLS: {error.strerror}") from error
    try:
        # Without the empty password it would ask for one at the terminal, and wait.
        context.load_cert_chain(files.certificate, files.key, password="")
    except ssl.SSLError as wrong:
        why = "the first must hold a certificate, the second its key without a passphrase, in PEM"
        if wrong.reason == "KEY_VALUES_MISMATCH":
            why = "the key is that of another certificate"
        raise SettingInvalid(
            f"cannot use {files.certificate} with {files.key} for TLS: {why}"
        ) from wrong
    return context


def self_signed(directory: Path, names: Sequence[str], now: float) -> CertificateFiles:
    """Return the certificate in `directory`, made now when absent: for `names` and this machine's.

    The key is readable by its owner alone. Clients trust the certificate itself as their CA.
    """
    files = CertificateFiles(directory / "tls.crt", directory / "tls.key")
    if files.certificate.exists() and files.key.exists():
        return files
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _certificate(key, _names(names), datetime.fromtimestamp(now, UTC))
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    _write(files.key, private, 0o600)
    _write(files.certificate, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
    return files


def _certificate(
    key: ec.EllipticCurvePrivateKey, names: list[x509.GeneralName], now: datetime
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "TreeScale")])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=valid_days))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )


def _names(given: Sequence[str]) -> list[x509.GeneralName]:
    """Return the names clients may use: those given, this machine's name, loopback."""
    found = dict.fromkeys([*given, socket.gethostname(), "localhost", "127.0.0.1", "::1"])
    names: list[x509.GeneralName] = []
    for name in filter(None, found):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            names.append(x509.DNSName(name))
    return names


def _write(path: Path, content: bytes, mode: int) -> None:
    """Write a file that never exists half-written nor with a wider mode."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f"{path.suffix}.part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)

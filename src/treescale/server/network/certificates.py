"""TLS: loading certificate files, and making a self-signed one that Docker can be told to trust."""

import ipaddress
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from treescale.clock import Clock
from treescale.config import Settings
from treescale.errors import SettingInvalid
from treescale.peer.connection import encrypting
from treescale.server.network import machine
from treescale.server.network.address import WILDCARDS
from treescale.server.network.key_pair import KeyPair, context_of, read_pair

VALID_DAYS: Final = 3650
RENEW_DAYS: Final = 30
"""A certificate that ends sooner is made anew at the next start."""


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where a certificate and its key lie, as PEM."""

    certificate: Path
    key: Path
    replaces: str = ""
    """Why it was made in place of another: whoever trusts that one must trust this one now."""


def certificate_files(
    settings: Settings, clock: Clock, directories: Sequence[str] = ()
) -> CertificateFiles | None:
    """Return where certificate and key lie, made now if they are to be; None without TLS.

    To be called once, before workers are forked: they must all have the same. `directories` are the
    data directories that are in use; the first that has a certificate keeps it.
    """
    if settings.tls_self_signed:
        places = [Path(each) / "tls" for each in directories or settings.data]
        kept = [place for place in places if (place / "tls.crt").exists()]
        return self_signed((kept or places)[0], names_to_cover(settings), clock.now())
    if settings.tls_cert and settings.tls_key:
        return CertificateFiles(Path(settings.tls_cert), Path(settings.tls_key))
    return None


def peer_authorities(settings: Settings) -> str:
    """Return the certificates in `peer_ca`, in PEM; "" without. Raises SettingInvalid."""
    if not settings.peer_ca:
        return ""
    try:
        found = Path(settings.peer_ca).read_text("ascii", errors="ignore")  # comments in bundles
        if found.strip():  # without any, nobody would be verified
            encrypting(found)
            return found
        why = "it is empty"
    except ssl.SSLError:
        why = "there is no certificate in PEM in it"
    except OSError as error:
        why = error.strerror or str(error)
    raise SettingInvalid(f"cannot use {settings.peer_ca} as peer_ca: {why}")


def names_to_cover(settings: Settings) -> list[str]:
    """Return the names and addresses that clients and other servers may use for this server."""
    hosts = [host for host, _ in settings.tcp]
    urls = [urlsplit(url).hostname for url in (settings.advertise, settings.public_url) if url]
    own = machine.addresses() if WILDCARDS.intersection(hosts) else []
    named = [host for host in [*hosts, *urls] if host and host not in WILDCARDS]
    found = [*named, *machine.names(), *own, "localhost", "127.0.0.1", "::1"]
    return list(dict.fromkeys(found))


def fingerprint(certificate: Path) -> str:
    """Return the SHA-256 of a certificate as openssl prints it."""
    loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
    return loaded.fingerprint(hashes.SHA256()).hex(":").upper()


def server_context(files: CertificateFiles) -> ssl.SSLContext:
    """Return what a TLS server needs; raises SettingInvalid when the files do not fit."""
    return checked(files)[1]


def checked(files: CertificateFiles) -> tuple[KeyPair, ssl.SSLContext]:
    """Return what the files hold, and what a server needs; raises SettingInvalid as above."""
    pair = read_pair(files.certificate, files.key)
    try:
        return pair, context_of(pair)
    except SettingInvalid as wrong:
        raise SettingInvalid(
            f"cannot use {files.certificate} with {files.key} for TLS: {wrong}"
        ) from wrong


def self_signed(directory: Path, names: Sequence[str], now: float) -> CertificateFiles:
    """Return the certificate in `directory`, made now when there is none that covers all `names`.

    One that covers more stays, so that an address that goes and comes back costs nobody anything.
    What is replaced is kept beside it as `.old`. The key is readable by its owner alone. Clients
    trust the certificate itself as their CA.
    """
    certificate_file, key_file = directory / "tls.crt", directory / "tls.key"
    wanted = _general_names(names)
    why = ""
    if certificate_file.exists() and key_file.exists():
        why = _outdated(certificate_file.read_bytes(), wanted, now)
        if not why:
            return CertificateFiles(certificate_file, key_file)
        for file in (certificate_file, key_file):
            file.replace(file.with_name(f"{file.name}.old"))
    files = CertificateFiles(certificate_file, key_file, why)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _certificate(key, wanted, datetime.fromtimestamp(now, UTC))
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
        .not_valid_after(now + timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )


def _outdated(pem: bytes, wanted: Sequence[x509.GeneralName], now: float) -> str:
    """Return why a certificate must be made anew; "" when it need not."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        covered = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return "it could not be read"
    missing = [str(name.value) for name in wanted if name not in covered]
    if missing:
        return f"it did not cover {', '.join(missing)}"
    if certificate.not_valid_after_utc.timestamp() - now < RENEW_DAYS * 86_400:
        return f"it was valid for less than {RENEW_DAYS} days"
    return ""


def _general_names(names: Sequence[str]) -> list[x509.GeneralName]:
    found: dict[x509.GeneralName, None] = {}
    for name in names:
        try:
            found[x509.IPAddress(ipaddress.ip_address(name.partition("%")[0]))] = None
        except ValueError:
            if name.isascii():
                found[x509.DNSName(name)] = None
    return list(found)


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

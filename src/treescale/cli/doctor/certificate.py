"""The certificate that a server is given: the pair, its chain, its names and its end."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from treescale.cli.doctor.finding import Finding, failure, fine, warning
from treescale.clock import SystemClock
from treescale.cluster.advice import CERTIFICATE_SECONDS
from treescale.config import Settings
from treescale.errors import SettingInvalid
from treescale.server.network.certificates import peer_authorities
from treescale.server.network.key_pair import KeyPair, context_of, read_pair

NAME: Final = "certificate"
_CLOCK: Final = SystemClock()


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """A pair that fits, and what it is to be good for."""

    certificates: tuple[x509.Certificate, ...]
    """The server's own first."""
    hosts: tuple[str, ...]
    """What clients and other servers type."""
    now: float
    key_mode: int = 0o600


def certificate(settings: Settings) -> Iterator[Finding]:
    """Say how the certificate is that the settings name, and `peer_ca`."""
    if settings.peer_ca:
        try:
            peer_authorities(settings)
            yield fine("peer_ca", "it can be read")
        except SettingInvalid as error:
            yield failure("peer_ca", str(error), "no server starts with it: correct the file")
    files = _files(settings)
    if files is None:
        return
    try:
        pair = read_pair(*files)
        context_of(pair)
    except SettingInvalid as error:
        yield failure(NAME, str(error), f"correct {files[0]} and {files[1]}: both in PEM")
        return
    if pair.leaf is None:
        yield warning(NAME, "OpenSSL alone can read it: nothing is known of its end", "renew it")
        return
    facts = facts_of(pair, settings, _CLOCK.now(), files[1].stat().st_mode)
    yield from (check(facts) for check in CHECKS)


def _files(settings: Settings) -> tuple[Path, Path] | None:
    """Return where certificate and key lie; None without TLS, or when they are yet to be made."""
    if settings.tls_cert and settings.tls_key:
        return Path(settings.tls_cert), Path(settings.tls_key)
    if settings.tls_self_signed:
        for directory in settings.data:
            made = Path(directory) / "tls" / "tls.crt"
            if made.exists():
                return made, made.with_name("tls.key")
    return None


def facts_of(pair: KeyPair, settings: Settings, now: float, key_mode: int) -> CertificateFacts:
    """Return what is to be known of a pair that fits."""
    urls = [urlsplit(url).hostname for url in (settings.public_url, settings.advertise) if url]
    hosts = tuple(dict.fromkeys(host for host in urls if host))
    chain = tuple(x509.load_pem_x509_certificates(pair.certificate))
    return CertificateFacts(chain, hosts, now, key_mode)


def end(facts: CertificateFacts) -> Finding:
    """Say when it ends: the first of it and what follows it in the file."""
    ends = min(each.not_valid_after_utc.timestamp() for each in facts.certificates)
    begins = facts.certificates[0].not_valid_before_utc.timestamp()
    found = f"valid until {datetime.fromtimestamp(ends, UTC):%Y-%m-%d %H:%M} UTC"
    advice = "renew it: new files are taken into use without a restart"
    if ends <= facts.now:
        return failure(NAME, f"expired, {found}: clients refuse it", advice)
    if begins > facts.now:
        return failure(NAME, "it has not begun yet", "set the clock of this machine (NTP)")
    if ends - facts.now < CERTIFICATE_SECONDS:
        return warning(NAME, f"ends soon, {found}", advice)
    return fine(NAME, found)


def names(facts: CertificateFacts) -> Finding:
    """Say whether it covers the hosts of `public_url` and `advertise`."""
    name = "certificate names"
    covered = _covered(facts.certificates[0])
    missing = [host for host in facts.hosts if not _is_covered(host, covered)]
    if missing:
        advice = "get one that covers them, or correct public_url and advertise"
        told = f"it covers {', '.join(covered) or 'nothing'}, and not {', '.join(missing)}"
        return failure(name, told, advice)
    return fine(name, ", ".join(covered) or "none")


def chain(facts: CertificateFacts) -> Finding:
    """Say whether each certificate in the file is signed by the one after it."""
    name = "certificate chain"
    pairs = zip(facts.certificates, facts.certificates[1:], strict=False)
    if not all(_is_signed_by(one, issuer) for one, issuer in pairs):
        advice = "write the server's own first, then whoever signed it, and so on (fullchain.pem)"
        return failure(name, "one is not signed by the one after it in the file", advice)
    leaf = facts.certificates[0]
    if len(facts.certificates) == 1 and leaf.issuer != leaf.subject:
        # Right where clients trust the issuer itself: with an authority of one's own.
        issuer = leaf.issuer.rfc4514_string()
        return fine(name, f"alone: clients must trust {issuer} itself (else: fullchain.pem)")
    return fine(name, f"{len(facts.certificates)} in order")


def key_mode(facts: CertificateFacts) -> Finding:
    """Say whether others may read the key."""
    if facts.key_mode & 0o004:
        advice = "chmod o-r; for a secret of Kubernetes, defaultMode: 0440"
        return warning("certificate key", "every user of this machine can read it", advice)
    return fine("certificate key", "not for everybody")


def _covered(leaf: x509.Certificate) -> list[str]:
    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(each.value) for each in found]


def _is_covered(host: str, covered: list[str]) -> bool:
    """Say whether one of the names is the host, or the asterisk of its domain."""
    try:
        return str(ip_address(host)) in covered
    except ValueError:
        domain = host.partition(".")[2]
        return host.lower() in {each.lower() for each in covered} or f"*.{domain}" in covered


def _is_signed_by(one: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        one.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


CHECKS: Final[tuple[Callable[[CertificateFacts], Finding], ...]] = (end, names, chain, key_mode)
"""What is looked for in a certificate that fits its key."""

"""Certificates of tests: signed by an authority of the test's own, for as long as it says."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from treescale.server.network.key_pair import KeyPair

DAY = 86_400.0


@dataclass(frozen=True)
class Authority:
    """Signs certificates."""

    name: str = "test authority"
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    year: int = 2020

    @property
    def pem(self) -> bytes:
        """Return its own certificate."""
        begin = datetime(self.year, 1, 1, tzinfo=UTC)
        return self._signed(
            self.key.public_key(), self.name, [], begin, begin + timedelta(days=36_500), ca=True
        )

    def pair(self, begin: float, end: float, *names: str) -> KeyPair:
        """Return a certificate that is valid from `begin` to `end`, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        begins, ends = (datetime.fromtimestamp(each, UTC) for each in (begin, end))
        pem = self._signed(key.public_key(), "server", names or ("localhost",), begins, ends)
        return KeyPair(pem, private_pem(key))

    def _signed(
        self,
        key: ec.EllipticCurvePublicKey,
        subject: str,
        names: tuple[str, ...] | list[str],
        begin: datetime,
        end: datetime,
        *,
        ca: bool = False,
    ) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(_named(subject))
            .issuer_name(_named(self.name))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if names:
            covered = x509.SubjectAlternativeName([_general(name) for name in names])
            builder = builder.add_extension(covered, critical=False)
        signed = builder.sign(self.key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)


def private_pem(key: ec.EllipticCurvePrivateKey, passphrase: bytes = b"") -> bytes:
    """Return a key as PEM."""
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        encryption = serialization.BestAvailableEncryption(passphrase)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)

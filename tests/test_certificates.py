"""What is said of certificate files that cannot be used: which one, and what it should be."""

import socket
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from treescale.certificates import CertificateFiles, self_signed, server_context
from treescale.clock import SystemClock
from treescale.errors import SettingInvalid


@pytest.fixture
def files(tmp_path: Path) -> CertificateFiles:
    return self_signed(tmp_path / "one", ["localhost"], SystemClock().now())


def refused(certificate: Path, key: Path) -> str:
    with pytest.raises(SettingInvalid) as caught:
        server_context(CertificateFiles(certificate, key))
    return str(caught.value)


def test_files_that_fit_are_taken(files: CertificateFiles) -> None:
    assert isinstance(server_context(files), ssl.SSLContext)


def test_the_file_that_cannot_be_read_is_named(files: CertificateFiles, tmp_path: Path) -> None:
    absent = tmp_path / "absent.pem"
    said = f"cannot read {absent} for TLS: No such file or directory"
    assert refused(absent, files.key) == said
    assert refused(files.certificate, absent) == said


def test_a_key_of_another_certificate(files: CertificateFiles, tmp_path: Path) -> None:
    other = self_signed(tmp_path / "other", ["localhost"], SystemClock().now())
    assert "another certificate" in refused(files.certificate, other.key)


def test_a_file_of_another_kind(files: CertificateFiles) -> None:
    assert "in PEM" in refused(files.key, files.certificate)


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked_for_it(
    files: CertificateFiles,
) -> None:
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    files.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    assert "without a passphrase" in refused(files.certificate, files.key)


def test_a_certificate_is_for_the_names_given_and_this_machine(tmp_path: Path) -> None:
    files = self_signed(tmp_path, ["0.0.0.0", "s1.example", ""], SystemClock().now())  # noqa: S104
    certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    names = found.get_values_for_type(x509.DNSName)
    assert {"s1.example", "localhost", socket.gethostname()} <= set(names)
    assert "" not in names

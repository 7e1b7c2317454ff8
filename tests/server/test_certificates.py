"""What is said of certificate files that cannot be used: which one, and what it should be."""

import socket
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from treescale.clock import SystemClock
from treescale.config import load
from treescale.errors import SettingInvalid
from treescale.server.network.certificates import (
    CertificateFiles,
    names_to_cover,
    peer_authorities,
    self_signed,
    server_context,
)


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


class TestPeerAuthorities:
    def test_they_are_read_from_the_file(self, files: CertificateFiles) -> None:
        settings = load({"peer_ca": str(files.certificate)}, {}).settings
        assert peer_authorities(settings) == files.certificate.read_text()
        assert peer_authorities(load({}, {}).settings) == ""

    @pytest.mark.parametrize(
        ("content", "why"),
        [
            (None, "No such file"),
            (b"", "it is empty"),
            (b" \n", "it is empty"),
            (b"rubbish", "no certificate"),
            (b"\xff", "it is empty"),
        ],
    )
    def test_a_file_without_any_is_refused(
        self, tmp_path: Path, content: bytes | None, why: str
    ) -> None:
        path = tmp_path / "ca.crt"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(SettingInvalid, match=f"cannot use {path} as peer_ca: .*{why}"):
            peer_authorities(load({"peer_ca": str(path)}, {}).settings)


NOW = 1_800_000_000.0
DAY = 86_400


def covered(files: CertificateFiles) -> set[str]:
    certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in found}


def covering(**flags: object) -> set[str]:
    return set(names_to_cover(load(flags, {}).settings))


def test_a_certificate_covers_what_clients_may_use() -> None:
    always = {"localhost", "127.0.0.1", "::1", socket.gethostname()}
    assert always <= covering()
    named = covering(
        listen=("10.0.0.7:443", "unix:/run/x", "[2001:db8::1]:443"),
        advertise="https://s1.example:443",
        public_url="https://registry.example",
    )
    assert named >= always | {"10.0.0.7", "2001:db8::1", "s1.example", "registry.example"}


@pytest.mark.parametrize("listen", ["0.0.0.0:443", "[::]:443"])
def test_listening_everywhere_covers_this_machines_addresses(
    listen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "treescale.server.network.machine.addresses", lambda: ["10.0.0.9", "2001:db8::9"]
    )
    found = covering(listen=(listen,))
    assert {"10.0.0.9", "2001:db8::9"} <= found
    assert not found & {"0.0.0.0", "::"}  # noqa: S104
    assert "10.0.0.9" not in covering(listen=("127.0.0.1:443",))


class TestRenewal:
    def test_it_is_kept_while_it_covers_what_it_must(self, tmp_path: Path) -> None:
        first = self_signed(tmp_path, ["a.example", "10.0.0.1"], NOW)
        before = first.certificate.read_bytes()
        again = self_signed(tmp_path, ["10.0.0.1"], NOW + DAY)
        assert (again.certificate.read_bytes(), again.replaces) == (before, "")

    def test_another_address_makes_another_and_the_old_one_is_kept(self, tmp_path: Path) -> None:
        first = self_signed(tmp_path, ["10.0.0.1"], NOW)
        before = first.certificate.read_bytes(), first.key.read_bytes()
        second = self_signed(tmp_path, ["10.0.0.2", "s2.example"], NOW)
        assert covered(second) == {"10.0.0.2", "s2.example"}
        assert "10.0.0.2, s2.example" in second.replaces
        old = tmp_path / "tls.crt.old", tmp_path / "tls.key.old"
        assert tuple(each.read_bytes() for each in old) == before
        assert isinstance(server_context(second), ssl.SSLContext)
        for key in (second.key, old[1]):
            assert key.stat().st_mode & 0o077 == 0

    @pytest.mark.parametrize(("days", "renewed"), [(3600, False), (3640, True), (4000, True)])
    def test_before_it_ends_it_is_made_anew(
        self, tmp_path: Path, days: int, *, renewed: bool
    ) -> None:
        self_signed(tmp_path, ["a.example"], NOW)
        assert bool(self_signed(tmp_path, ["a.example"], NOW + days * DAY).replaces) == renewed

    def test_one_that_cannot_be_read_is_made_anew(self, tmp_path: Path) -> None:
        files = self_signed(tmp_path, ["a.example"], NOW)
        files.certificate.write_text("rubbish")
        assert "could not be read" in self_signed(tmp_path, ["a.example"], NOW).replaces

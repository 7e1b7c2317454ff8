"""Which pairs of a certificate and a key are taken, and what is said of those that are not."""

import ssl
from dataclasses import replace
from math import inf
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.certificates import DAY, Authority, private_pem
from treescale.errors import SettingInvalid
from treescale.server.network.key_pair import (
    PAIR_BYTES_MAX,
    KeyPair,
    context_of,
    judged,
    read_pair,
)

NOW = 1_800_000_000.0
AUTHORITY = Authority()
PAIR = AUTHORITY.pair(NOW - DAY, NOW + DAY)
OTHER = AUTHORITY.pair(NOW - DAY, NOW + DAY)


def refused(pair: KeyPair, now: float = NOW) -> str:
    with pytest.raises(SettingInvalid) as caught:
        judged(pair, now)
    return str(caught.value)


def test_a_pair_that_fits_is_taken_with_its_chain() -> None:
    chained = replace(PAIR, certificate=PAIR.certificate + AUTHORITY.pem)
    for pair in (PAIR, chained, replace(PAIR, key=PAIR.certificate + PAIR.key)):
        assert isinstance(judged(pair, NOW), ssl.SSLContext)
    assert chained.expires == NOW + DAY, "that of the server, and not of its authority"


def test_of_one_that_only_openssl_can_read_no_end_is_known() -> None:
    odd = replace(
        PAIR, certificate=b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    )
    assert odd.leaf is None
    assert odd.expires == inf


def test_a_key_of_another_certificate() -> None:
    assert "that of another certificate" in refused(replace(PAIR, key=OTHER.key))


def test_a_key_with_a_passphrase() -> None:
    locked = private_pem(ec.generate_private_key(ec.SECP256R1()), b"secret")
    assert "without a passphrase: `openssl pkey" in refused(replace(PAIR, key=locked))


def test_files_that_break_off_at_any_byte_are_refused() -> None:
    for size in range(len(PAIR.certificate) - 1):
        refused(replace(PAIR, certificate=PAIR.certificate[:size]))
    for size in range(len(PAIR.key) - 1):
        refused(replace(PAIR, key=PAIR.key[:size]))
    half = PAIR.certificate[:200]
    assert refused(replace(PAIR, certificate=half)) == (
        "the file with the certificate breaks off: write it whole"
    )
    assert "private key breaks off" in refused(replace(PAIR, key=PAIR.key[:100]))
    assert "there is no certificate" in refused(replace(PAIR, certificate=b""))
    chain = PAIR.certificate + AUTHORITY.pem[:200]
    assert "breaks off" in refused(replace(PAIR, certificate=chain))


@pytest.mark.parametrize("rubbish", [b"", b"rubbish", b"\0" * 100, b"-----BEGIN CERTIFICATE-----"])
def test_rubbish_is_refused(rubbish: bytes) -> None:
    assert refused(KeyPair(rubbish, PAIR.key))
    assert refused(KeyPair(PAIR.certificate, rubbish))


def test_one_that_clients_would_refuse_for_its_time_takes_the_place_of_none() -> None:
    assert "has expired on 2027-01-16 08:00 UTC: renew it" in refused(PAIR, NOW + DAY)
    assert "begins on 2027-01-14 08:00 UTC only" in refused(PAIR, NOW - DAY - 1)
    assert isinstance(context_of(PAIR), ssl.SSLContext), "at a start there is no other"


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    there, absent = tmp_path / "there", tmp_path / "absent"
    there.write_bytes(PAIR.key)
    with pytest.raises(SettingInvalid, match=f"cannot read {absent} for TLS: No such file"):
        read_pair(there, absent)
    with pytest.raises(SettingInvalid, match="Is a directory"):
        read_pair(tmp_path, there)
    there.write_bytes(b"x" * (PAIR_BYTES_MAX + 1))
    with pytest.raises(SettingInvalid, match="more than 1 MiB"):
        read_pair(there, there)

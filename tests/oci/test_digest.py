"""Digests: the two algorithms we know, spelled in exactly one way."""

import pytest

from tests.tables import each_row
from treescale.errors import DigestInvalid
from treescale.oci.digest import digest_of, is_digest, new_hasher, parse_digest


def test_digests_come_back_as_they_were_written() -> None:
    for text in ("sha256:" + "a0" * 32, "sha512:" + "b1" * 64):
        assert is_digest(text)
        assert str(parse_digest(text)) == text


@each_row(
    "text",
    [
        "",
        "sha256",
        "sha256:",
        "sha256:" + "a" * 63,
        "sha256:" + "a" * 65,
        "sha256:" + "A" * 64,
        "sha512:" + "a" * 64,
        "sha256:" + "a" * 64 + "\n",
        "SHA256:" + "a" * 64,
        "sha1:" + "a" * 40,
        "sha256:" + "\u0663" * 64,
        "sha384:" + "a" * 96,
        "sha256:sha256:" + "a" * 64,
    ],
)
def test_digests_that_are_none(text: str) -> None:
    assert not is_digest(text)
    with pytest.raises(DigestInvalid):
        parse_digest(text)


def test_the_digest_of_nothing() -> None:
    empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert str(digest_of(b"")) == empty
    assert str(digest_of(b"", "sha512")).startswith("sha512:cf83e1357eefb8bd")


def test_hashing_in_pieces() -> None:
    hasher = new_hasher("sha512")
    hasher.update(b"a")
    hasher.update(memoryview(b"b"))
    assert hasher.hexdigest() == digest_of(b"ab", "sha512").hex


@each_row("algorithm", ["sha1", "md5", "SHA256", "", "shake_128", "blake2b"])
def test_other_algorithms_are_refused(algorithm: str) -> None:
    with pytest.raises(DigestInvalid):
        new_hasher(algorithm)

"""Sizes as people write and read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tables import each_row
from treescale.errors import SettingInvalid
from treescale.sizes import BYTES_MAX, in_words, parse_bytes


@each_row(
    "text, expected",
    [
        ("0", 0),
        ("1000", 1000),
        ("50GB", 50 * 10**9),
        ("50 gb", 50 * 10**9),
        ("1.5TB", 1_500_000_000_000),
        ("1.005kB", 1005),
        ("200GiB", 200 * 2**30),
        ("10G", 10**10),
        (" 1B ", 1),
    ],
)
def test_what_is_understood(text: str, expected: int) -> None:
    assert parse_bytes(text) == expected


@each_row("text", ["", "GB", "-1", "1.5.5GB", "1,5GB", "50XB", "1e9", "9" * 19, "1000PB0", "2EB"])
def test_what_is_not(text: str) -> None:
    with pytest.raises(SettingInvalid):
        parse_bytes(text)


@given(st.integers(0, BYTES_MAX - 1))
def test_three_digits_and_no_exponent(count: int) -> None:
    words = in_words(count)
    assert "e" not in words
    if count < 10**17:
        assert abs(parse_bytes(words) - count) <= count * 0.005 + 0.5

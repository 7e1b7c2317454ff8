"""The text of access tokens: recognised when whole, refused when mangled, never guessed at."""

import re

from hypothesis import given
from hypothesis import strategies as st

from treescale.auth.access_tokens import (
    access_token_text,
    is_access_token,
    is_robot_secret,
    robot_secret_text,
    secret_sha256,
)

randoms = st.binary(min_size=32, max_size=32)


def test_the_form_is_fixed() -> None:
    text = access_token_text(bytes(32))
    assert re.fullmatch(r"ts_A{43}[A-Za-z0-9_-]{6}", text)
    assert len(text) == 52
    assert is_access_token(text)


def test_a_robots_secret_is_none_of_a_user() -> None:
    text = robot_secret_text(bytes(32))
    assert re.fullmatch(r"tsr_A{43}[A-Za-z0-9_-]{6}", text)
    assert (is_robot_secret(text), is_access_token(text)) == (True, False)
    other = access_token_text(bytes(32))
    assert (is_robot_secret(other), is_access_token(other)) == (False, True)
    for mangled in ("", "tsr_", text[:-1], text + "A", text + "\n", other.replace("ts_", "tsr_")):
        assert not is_robot_secret(mangled)


@given(randoms, randoms)
def test_tokens_are_as_different_as_their_bits(one: bytes, other: bytes) -> None:
    same = access_token_text(one) == access_token_text(other)
    assert same == (one == other)
    assert is_access_token(access_token_text(one))


@given(randoms, st.integers(0, 51), st.sampled_from("AZaz09-_ \n€"))
def test_one_wrong_character_is_noticed(random: bytes, at: int, character: str) -> None:
    text = access_token_text(random)
    mangled = text[:at] + character + text[at + 1 :]
    # The last character of each part carries bits that decode to nothing: compare as text.
    assert is_access_token(mangled) == (mangled == text)


@given(st.text())
def test_any_other_text_is_not_a_token(text: str) -> None:
    assert not is_access_token(text)
    assert not is_access_token(access_token_text(bytes(32)) + "\n")


def test_only_the_hash_is_kept() -> None:
    text = access_token_text(bytes(range(32)))
    assert re.fullmatch(r"[0-9a-f]{64}", secret_sha256(text))
    assert secret_sha256(text) != secret_sha256(access_token_text(bytes(32)))

"""By which text tags sort: as people read versions."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from treescale.oci.versions import KEY_CHARACTERS_MAX, version_key

NUMBERS = st.lists(st.integers(0, 10**12), min_size=1, max_size=5)
TAGS = st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", fullmatch=True)
BEFORE = ("a", "alpha", "b", "beta", "dev", "pre", "rc", "snapshot")


def text(numbers: list[int]) -> str:
    return ".".join(map(str, numbers))


@given(NUMBERS, NUMBERS, st.sampled_from(["", "v"]))
def test_versions_sort_as_their_numbers_do(one: list[int], other: list[int], prefix: str) -> None:
    keys = version_key(prefix + text(one)), version_key(text(other))
    assert (keys[0] < keys[1]) == (one < other)
    assert (keys[0] == keys[1]) == (one == other)


@given(NUMBERS, st.sampled_from(BEFORE), st.integers(0, 99), st.sampled_from(["-", ".", "", "_"]))
def test_what_comes_before_a_release_is_below_it(
    numbers: list[int], word: str, count: int, mark: str
) -> None:
    release, before = text(numbers), f"{text(numbers)}{mark}{word}{count}"
    assert version_key(before) < version_key(f"{release}-alpine") < version_key(release)
    assert version_key(before) < version_key(f"{text(numbers)}{mark}{word}{count + 1}")
    higher = text([*numbers[:-1], numbers[-1] + 1])
    assert version_key(release) < version_key(f"{higher}-rc1") < version_key("latest")


@given(TAGS)
def test_a_key_is_short_ascii_and_of_the_name_alone(tag: str) -> None:
    key = version_key(tag)
    assert 0 < len(key) <= KEY_CHARACTERS_MAX
    assert key.isascii()
    assert key.isprintable()
    assert " " not in key
    assert key == version_key(tag)


@given(st.from_regex(r"[a-z]{1,8}-", fullmatch=True), st.integers(0, 10**9), st.integers(0, 10**9))
def test_numbers_in_words_sort_as_numbers(word: str, one: int, other: int) -> None:
    keys = version_key(f"x{word}{one}"), version_key(f"x{word}{other}")
    assert (keys[0] < keys[1]) == (one < other)


@pytest.mark.parametrize(
    "tags",
    [
        ["latest", "2", "1.10", "1.9.1", "1.9", "1.9-alpine", "1.9-rc10", "1.9-rc9", "1.9-beta"],
        ["v10.0.0", "v9.1", "v9", "main", "edge"],
        ["2024-12-01", "2024-02-10", "2024-02-01", "2023-12-31"],
        ["nightly-20241201", "nightly-20241130", "7e3fabc"],
        ["1.0", "main", f"sha256-{'a' * 64}.sig"],
        ["3.12-slim-bookworm", "3.9-slim-bookworm"],
        ["1.0rc2", "1.0rc1", "1.0b2"],
    ],
)
def test_the_newest_comes_first(tags: list[str]) -> None:
    assert sorted(tags, key=version_key, reverse=True) == tags

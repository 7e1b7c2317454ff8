"""What a condition lists, and when it holds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tables import each_row
from treescale.errors import PreconditionFailed, RequestInvalid
from treescale.oci.conditions import Condition, EntityTags, parse_condition

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
ANYTHING = EntityTags(anything=True)


def listed(*strong: str, weak: str = "") -> EntityTags:
    return EntityTags(strong=frozenset(strong), weak=frozenset({weak} - {""}))


@each_row(
    ("lines", "tags"),
    [
        (["*"], ANYTHING),
        ([" *\t"], ANYTHING),
        ([f'"{A}"'], listed(A)),
        ([f'"{A}","{B}"'], listed(A, B)),
        ([f'"{A}"', f' "{B}" '], listed(A, B)),
        ([f', "{A}" ,, "{B}",'], listed(A, B)),
        ([f'W/"{A}"'], listed(weak=A)),
        ([f'W/"{A}", "{B}"'], listed(B, weak=A)),
        (['"a,b", ""'], listed("a,b", "")),
        (['"\xe9"'], listed("\xe9")),
    ],
)
def test_lists(lines: list[str], tags: EntityTags) -> None:
    assert parse_condition(lines, []) == Condition(match=tags)
    assert parse_condition([], lines) == Condition(none_match=tags)


@each_row(
    "lines",
    [
        [""],
        [" , "],
        [A],
        [f'"{A}'],
        [f'{A}"'],
        [f'"{A}" "{B}"'],
        [f'w/"{A}"'],
        [f'W /"{A}"'],
        [f'"{A}", *'],
        ["*", "*"],
        ["*, *"],
        ['"a b"'],
        ['"a\x7f"'],
        ['"' * 99],
    ],
)
def test_what_is_not_understood_is_never_passed_over(lines: list[str]) -> None:
    with pytest.raises(RequestInvalid):
        parse_condition(lines, [])
    with pytest.raises(RequestInvalid):
        parse_condition(["*"], lines)


def test_no_condition() -> None:
    assert parse_condition([], []) is None


@each_row(
    ("condition", "there", "holds"),
    [
        (Condition(match=ANYTHING), A, True),
        (Condition(match=ANYTHING), None, False),
        (Condition(match=listed(A, B)), A, True),
        (Condition(match=listed(B)), A, False),
        (Condition(match=listed(A)), None, False),
        (Condition(match=listed(weak=A)), A, False),
        (Condition(none_match=ANYTHING), A, False),
        (Condition(none_match=ANYTHING), None, True),
        (Condition(none_match=listed(A)), A, False),
        (Condition(none_match=listed(weak=A)), A, False),
        (Condition(none_match=listed(B)), A, True),
        (Condition(none_match=listed(A)), None, True),
        (Condition(listed(A), listed(B)), A, True),
        (Condition(listed(A), listed(A)), A, False),
        (Condition(listed(B), listed(B)), A, False),
    ],
)
def test_when_it_holds(condition: Condition, there: str | None, *, holds: bool) -> None:
    if holds:
        condition.check(there)
    else:
        with pytest.raises(PreconditionFailed):
            condition.check(there)


@given(st.text(st.sampled_from('"*, \tW/a\xe9\x7f'), max_size=60))
def test_any_text_gives_a_condition_or_an_error_of_ours(text: str) -> None:
    try:
        parse_condition([text], [text])
    except RequestInvalid:
        return
    assert text.strip(" \t") == "*" or '"' in text


def test_long_lists_cost_little() -> None:
    assert parse_condition([",".join(f'"{n}"' for n in range(6000))], []) is not None
    with pytest.raises(RequestInvalid):
        parse_condition([" " * 30_000 + "x"], [])

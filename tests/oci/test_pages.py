"""Page sizes, where a page starts, and the Link to the next."""

from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tables import each_row
from treescale.errors import PageInvalid
from treescale.oci.pages import PAGE_ENTRIES_MAX, link_header, parse_last, parse_page_size


@each_row(
    ("values", "size"),
    [
        ([], PAGE_ENTRIES_MAX),
        ([""], PAGE_ENTRIES_MAX),
        (["0"], 0),
        (["1"], 1),
        (["007"], 7),
        (["1000"], 1000),
        (["1001"], PAGE_ENTRIES_MAX),
        (["1000000000"], PAGE_ENTRIES_MAX),
        ([str(2**63)], PAGE_ENTRIES_MAX),
        ([str(2**64)], PAGE_ENTRIES_MAX),
    ],
)
def test_page_sizes(values: list[str], size: int) -> None:
    assert parse_page_size(values) == size


@each_row(
    "values",
    [
        ["-1"],
        ["-0"],
        ["+5"],
        ["1_0"],
        ["\u0663"],
        ["\u00b2"],
        [" 5"],
        ["5\n"],
        ["5.0"],
        ["1e3"],
        ["0x5"],
        ["a"],
        ["5", "5"],
        ["", "5"],
        ["9" * 5000],
    ],
)
def test_page_sizes_that_are_none(values: list[str]) -> None:
    with pytest.raises(PageInvalid):
        parse_page_size(values)


def test_where_a_page_starts() -> None:
    assert parse_last([]) == ""
    assert parse_last(["v1.0"]) == "v1.0"
    assert parse_last(["not there %_\\"]) == "not there %_\\"


@each_row("values", [["a", "b"], ["a\0"], ["a\n"], ["\u00fc"], ["\ud800"], ["a" * 513]])
def test_where_no_page_starts(values: list[str]) -> None:
    with pytest.raises(PageInvalid):
        parse_last(values)


def test_the_link_to_the_next_page() -> None:
    assert link_header("/v2/a/b/tags/list", 2, "v1") == (
        '</v2/a/b/tags/list?n=2&last=v1>; rel="next"'
    )


@given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8"), min_size=1))
def test_a_link_can_be_followed_whatever_is_in_it(last: str, kind: str) -> None:
    link = link_header("/v2/a/b/referrers/x", 5, last, {"artifactType": kind})
    target, _, rest = link.removeprefix("<").partition(">")
    assert rest == '; rel="next"'
    assert link.isascii()
    query = parse_qs(urlsplit(target).query, keep_blank_values=True)
    assert query == {"artifactType": [kind], "n": ["5"], "last": [last]}

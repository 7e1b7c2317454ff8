"""Range and Content-Range, against a model that counts byte by byte."""

from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tables import each_row
from treescale.errors import RangeInvalid
from treescale.oci.ranges import (
    PARTS_MAX,
    ByteRange,
    content_range,
    parse_content_range,
    parse_range,
    unsatisfied_range,
)

SIZE = 2048


@each_row(
    ("header", "first", "last"),
    [
        ("bytes=500-1499", 500, 1499),
        ("bytes=500-", 500, 2047),
        ("bytes=-500", 1548, 2047),
        ("bytes=2000-5000", 2000, 2047),
        ("bytes=0-0", 0, 0),
        ("bytes=2047-", 2047, 2047),
        ("bytes=-1", 2047, 2047),
        ("bytes=-9999", 0, 2047),
        ("bytes=0-", 0, 2047),
        ("Bytes= 5-6 ", 5, 6),
        ("bytes=5-9223372036854775807", 5, 2047),
    ],
)
def test_one_range(header: str, first: int, last: int) -> None:
    assert parse_range(header, SIZE) == [ByteRange(first, last)]


@each_row(
    "header",
    ["bytes=500-0", "bytes=5000-10000", "bytes=2048-", "bytes=-0", "bytes=9-8,5000-,-0"],
)
def test_nothing_to_satisfy(header: str) -> None:
    with pytest.raises(RangeInvalid) as refusal:
        parse_range(header, SIZE)
    assert refusal.value.size == SIZE


@each_row(
    "header",
    [
        None,
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=--1",
        "bytes=1",
        "bytes=a-b",
        "bytes=1_0-20",
        "bytes=+1-2",
        "bytes=1-2-3",
        "bytes=1 -2",
        "bytes=0x1-2",
        "bytes=\u0660-\u0669",
        "bytes=1-\u00b2",
        "bytes=1-2,",
        "bytes=1-2,,3-4",
        "bytes=1-2;3-4",
        "bytes=1-2\n",
        "lines=1-2",
        "bytes 1-2",
        "bytes=99999999999999999999-",
    ],
)
def test_what_is_not_understood_is_ignored(header: str | None) -> None:
    assert parse_range(header, SIZE) is None


def test_parts_keep_their_order_and_are_not_joined() -> None:
    assert parse_range("bytes=500-599, 0-99,100-199\t,-8", SIZE) == [
        ByteRange(500, 599),
        ByteRange(0, 99),
        ByteRange(100, 199),
        ByteRange(2040, 2047),
    ]


def test_parts_beyond_the_end_are_dropped() -> None:
    assert parse_range("bytes=5000-6000,7-7,9-8", SIZE) == [ByteRange(7, 7)]


@each_row("header", ["bytes=0-9,9-10", "bytes=100-200,0-,5-6", "bytes=0-,0-", "bytes=1-1,1-1"])
def test_parts_that_overlap_get_the_whole(header: str) -> None:
    assert parse_range(header, SIZE) is None


def test_up_to_1024_parts() -> None:
    parts = [f"{2 * number}-{2 * number}" for number in range(PARTS_MAX)]
    found = parse_range("bytes=" + ",".join(parts), 2 * PARTS_MAX)
    assert found is not None
    assert len(found) == PARTS_MAX
    assert parse_range("bytes=" + ",".join([*parts, "9000-9001"]), 10_000) is None


def test_an_empty_blob_is_whole_whatever_is_asked_of_its_start() -> None:
    assert parse_range("bytes=0-", 0) is None
    assert parse_range("bytes=-5", 0) is None
    with pytest.raises(RangeInvalid):
        parse_range("bytes=1-", 0)


@each_row(
    "header",
    [
        "bytes=" + ",".join(f"{3 * number}-{3 * number + 1}" for number in range(10_000)),
        "bytes=" + ",".join(f"{3 * number}-{3 * number + 1}" for number in range(PARTS_MAX)),
        "bytes=" + "0-," * 10_000 + "0-",
        "bytes=" + "," * 100_000,
    ],
)
def test_ten_thousand_parts_cost_nothing(header: str) -> None:
    begun = process_time()
    for _ in range(10):
        parse_range(header, 10**6)
    # what grows with the square of the parts takes many seconds
    assert (process_time() - begun) / 10 < 0.5


PARTS = st.lists(
    st.tuples(st.none() | st.integers(0, 30), st.none() | st.integers(0, 30)).filter(
        lambda part: part != (None, None)
    ),
    min_size=1,
    max_size=4,
)


def bytes_meant(first: int | None, last: int | None, size: int) -> list[int]:
    """Return the positions that a part names, counted one by one."""
    if first is None:
        assert last is not None
        return [position for position in range(size) if position >= size - last]
    return [position for position in range(first, size) if last is None or position <= last]


@given(PARTS, st.integers(1, 30))
def test_every_range_means_what_a_model_says(
    parts: list[tuple[int | None, int | None]], size: int
) -> None:
    words = [f"{'' if a is None else a}-{'' if b is None else b}" for a, b in parts]
    meant = [found for a, b in parts if (found := bytes_meant(a, b, size))]
    flat = [position for found in meant for position in found]
    try:
        ranges = parse_range("bytes=" + ",".join(words), size)
    except RangeInvalid:
        assert not meant
        return
    if ranges is None:
        assert len(flat) != len(set(flat))
    else:
        assert [list(range(r.first, r.last + 1)) for r in ranges] == meant
        assert sum(r.length for r in ranges) <= size


def test_how_answers_spell_ranges() -> None:
    assert content_range(ByteRange(0, 9), 100) == "bytes 0-9/100"
    assert unsatisfied_range(100) == "bytes */100"


@each_row(
    ("text", "first", "last"),
    [
        ("0-1023", 0, 1023),
        ("1024-1024", 1024, 1024),
        ("bytes 0-1023/4096", 0, 1023),
        ("bytes 0-1023/*", 0, 1023),
        ("bytes 5-9", 5, 9),
        ("bytes 5-9/10", 5, 9),
        ("0-9223372036854775807", 0, 2**63 - 1),
    ],
)
def test_content_range_of_a_chunk(text: str, first: int, last: int) -> None:
    assert parse_content_range(text) == ByteRange(first, last)


@each_row(
    "text",
    [
        "",
        "0",
        "5-4",
        "0-",
        "-5",
        "0-18446744073709551615",
        "0-9223372036854775808",
        "1_0-2_0",
        "\u0660-\u0669",
        "0-5\n",
        " 0-5",
        "0 - 5",
        "bytes=0-5",
        "bytes */5",
        "+0-5",
        "0-5/x",
        "0-5-6",
        "bytes 0-5/5",
        "0-5/0",
    ],
)
def test_content_range_that_says_nothing(text: str) -> None:
    with pytest.raises(RangeInvalid):
        parse_content_range(text)

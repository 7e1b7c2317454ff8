"""What a chunk says of itself, and how progress is spelled."""

import pytest

from tests.tables import each_row
from treescale.errors import RangeInvalid, SizeInvalid
from treescale.oci.ranges import ByteRange
from treescale.oci.upload import chunk_announced, progress_range


@pytest.mark.parametrize("length", [None, 0, 5])
def test_without_a_range_a_chunk_is_appended(length: int | None) -> None:
    assert chunk_announced(None, length) is None


@pytest.mark.parametrize("length", [None, 5])
def test_a_range_says_where_the_chunk_continues(length: int | None) -> None:
    assert chunk_announced("10-14", length) == ByteRange(10, 14)


@pytest.mark.parametrize("length", [0, 4, 6])
def test_a_range_that_contradicts_the_length(length: int) -> None:
    with pytest.raises(SizeInvalid):
        chunk_announced("10-14", length)


def test_a_range_that_is_none() -> None:
    with pytest.raises(RangeInvalid):
        chunk_announced("5-4", 0)


@each_row(("offset", "text"), [(0, "0-0"), (1, "0-0"), (2, "0-1"), (2**40, "0-1099511627775")])
def test_progress(offset: int, text: str) -> None:
    assert progress_range(offset) == text

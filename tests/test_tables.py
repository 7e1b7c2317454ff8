"""A test of a table tells of each row that fails, and of no other."""

import asyncio
import inspect
from pathlib import Path

import pytest

from tests.tables import each_row


def test_each_row_that_fails_is_told_of() -> None:
    @each_row("number, wanted", [(1, 1), (2, 3), pytest.param(3, 3), (4, 5)])
    def same(number: int, wanted: int) -> None:
        assert number == wanted

    with pytest.raises(BaseExceptionGroup, match="2 of 4 rows") as told:
        same()
    assert [error.__notes__ for error in told.value.exceptions] == [
        ["in the row (2, 3)"],
        ["in the row (4, 5)"],
    ]


def test_so_is_one_that_should_have_raised() -> None:
    @each_row("number", [0, 1])
    def raises(number: int) -> None:
        with pytest.raises(ZeroDivisionError):
            _ = 1 / number

    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        raises()


async def test_so_is_one_that_waits() -> None:
    @each_row("number", [0, 1, 2])
    async def waits(number: int) -> None:
        await asyncio.sleep(0)
        assert number != 1

    with pytest.raises(AssertionError) as told:
        await waits()
    assert told.value.__notes__ == ["in the row (1,)"]


@each_row("name", ["a", "b"])
def test_a_fixture_comes_with_every_row(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(name)
    assert tmp_path.is_dir()


def test_a_table_has_what_is_no_parameter_as_fixtures() -> None:
    assert [*inspect.signature(test_a_fixture_comes_with_every_row).parameters] == ["tmp_path"]
    with pytest.raises(AssertionError, match="no marks"):
        each_row("name", [pytest.param("a", marks=pytest.mark.long)])

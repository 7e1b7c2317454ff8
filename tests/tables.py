"""A test over a table of examples: one test that tells of every row that fails.

`pytest.mark.parametrize` makes a test of each row, which each process of a run collects, sets up
and tells of. That costs more than a row that calls a function.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any

import pytest

Test = Callable[..., Any]


def each_row(
    names: str | Sequence[str], rows: Iterable[Any], ids: object = None
) -> Callable[[Test], Test]:
    """Call the test with each row; takes what parametrize takes.

    Not for a test with a fixture that a row changes for the next, nor for one that takes long: it
    has the time of one test for all rows.
    """
    del ids  # a row that fails is shown
    words = [word.strip() for word in names.split(",")] if isinstance(names, str) else [*names]
    values = [_values(row, one=len(words) == 1) for row in rows]

    def decorate(test: Test) -> Any:
        def given(row: tuple[Any, ...], fixtures: dict[str, Any]) -> dict[str, Any]:
            return dict(zip(words, row, strict=True)) | fixtures

        @wraps(test)
        def one_by_one(*args: Any, **fixtures: Any) -> None:
            with _told_together(len(values)) as failed:
                for row in values:
                    with _noted(row, failed):
                        test(*args, **given(row, fixtures))

        @wraps(test)
        async def awaited(*args: Any, **fixtures: Any) -> None:
            with _told_together(len(values)) as failed:
                for row in values:
                    with _noted(row, failed):
                        await test(*args, **given(row, fixtures))

        every_row: Any = awaited if inspect.iscoroutinefunction(test) else one_by_one
        signature = inspect.signature(test)
        left = [parameter for name, parameter in signature.parameters.items() if name not in words]
        del every_row.__wrapped__
        every_row.__signature__ = signature.replace(parameters=left)
        return every_row

    return decorate


@contextmanager
def _told_together(count: int) -> Iterator[list[BaseException]]:
    failed: list[BaseException] = []
    yield failed
    if len(failed) == 1:
        raise failed[0]
    if failed:
        raise BaseExceptionGroup(f"{len(failed)} of {count} rows", failed)


@contextmanager
def _noted(row: tuple[Any, ...], failed: list[BaseException]) -> Iterator[None]:
    try:
        yield
    except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001  raised in the end
        error.add_note(f"in the row {row!r:.500}")
        failed.append(error)


def _values(row: Any, *, one: bool) -> tuple[Any, ...]:
    if isinstance(row, type(pytest.param())):
        assert not row.marks, "a row of a table has no marks: let it be a test of its own"
        return tuple(row.values)
    return (row,) if one else tuple(row)

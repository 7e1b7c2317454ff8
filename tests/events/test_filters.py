"""What a filter leaves out, and what it may be made of."""

import pytest

from tests.events.values import recorded
from tests.tables import each_row
from treescale.errors import RequestInvalid
from treescale.events.filters import (
    EVERYTHING,
    GLOB_CHARACTERS_MAX,
    GLOBS_MAX,
    EventFilter,
    parse_filter,
)

PUSHED = recorded(1)
TOKEN = recorded(2, "token.created", repository=None)
LAYOUT = recorded(3, "layout.changed", namespace=None, repository=None)


@each_row(
    ("wanted", "left"),
    [
        (EVERYTHING, (1, 2, 3)),
        (EventFilter(("image.*",)), (1,)),
        (EventFilter(("token.*", "layout.changed")), (2, 3)),
        (EventFilter(("Image.*",)), ()),
        (EventFilter(namespace="alice"), (1, 2)),
        (EventFilter(namespace="ali"), ()),
        (EventFilter(repository="alice/*"), (1,)),
        (EventFilter(repository="*"), (1,)),
        (EventFilter(("token.*",), repository="alice/*"), ()),
    ],
)
def test_what_is_left(wanted: EventFilter, left: tuple[int, ...]) -> None:
    found = [one.sequence for one in (PUSHED, TOKEN, LAYOUT) if wanted.matches(one)]
    assert found == [*left]


def test_what_it_is_made_of() -> None:
    assert parse_filter() == EVERYTHING
    assert parse_filter("a.*,,b", "alice", "alice/*") == EventFilter(
        ("a.*", "b"), "alice", "alice/*"
    )
    for wrong in (
        (",".join("a" * (GLOBS_MAX + 1)), "", ""),
        ("a" * (GLOB_CHARACTERS_MAX + 1), "", ""),
        ("", "a" * (GLOB_CHARACTERS_MAX + 1), ""),
        ("", "", "*" * (GLOB_CHARACTERS_MAX + 1)),
    ):
        with pytest.raises(RequestInvalid):
            parse_filter(*wrong)

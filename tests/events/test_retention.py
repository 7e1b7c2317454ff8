"""How long events are kept, as the setting says it."""

import pytest

from tests.tables import each_row
from treescale.errors import SettingInvalid
from treescale.events.retention import (
    DEFAULT,
    EVERYTHING,
    Retention,
    parse_retention,
    retention_of,
)


@each_row(
    ("text", "expected"),
    [
        ("30d", DEFAULT),
        ("1h", Retention(seconds=3600.0)),
        ("100000", Retention(count=100_000)),
        ("keep", EVERYTHING),
    ],
)
def test_what_is_kept(text: str, expected: Retention) -> None:
    assert parse_retention(text) == retention_of(text) == expected


def test_what_cannot_be_set_removes_nothing() -> None:
    assert retention_of(None) == DEFAULT
    for text in ("", "999", "59m", "-1", "30", "٣٠٠٠", "forever", "9" * 30):
        with pytest.raises(SettingInvalid, match=r"events|time"):
            parse_retention(text)
        assert retention_of(text) == EVERYTHING

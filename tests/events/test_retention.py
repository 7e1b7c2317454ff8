"""How long events are kept, as the setting says it."""

import pytest

from tests.tables import each_row
from treescale.errors import SettingInvalid
from treescale.events.retention import (
    DEFAULT,
    EVERYTHING,
    Retention,
    audit_seconds,
    parse_audit,
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
    for text in ("", "999", "59m", "-1", "30", "٣٠٠٠", "forever", "9" * 30, "9" * 5000):
        with pytest.raises(SettingInvalid, match=r"events|time"):
            parse_retention(text)
        assert retention_of(text) == EVERYTHING


@each_row(
    ("text", "expected"),
    [("1y", 365 * 86400.0), ("30d", 30 * 86400.0), ("10y", 3650 * 86400.0), ("keep", None)],
)
def test_how_long_the_audit_log_is_kept(text: str, expected: float | None) -> None:
    assert parse_audit(text) == audit_seconds(text) == expected


def test_nobody_hides_by_it_what_was_done_lately() -> None:
    assert audit_seconds(None) == 365 * 86400.0
    for text in ("", "29d", "1000", "0", "y", "-1y", "1y1y", "٣y", "1000y", "forever"):
        with pytest.raises(SettingInvalid, match="audit"):
            parse_audit(text)
        assert audit_seconds(text) is None, "what cannot be read removes nothing"

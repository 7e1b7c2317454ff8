"""How an event goes out, and what a cursor is."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.events.values import recorded
from treescale.errors import PageInvalid
from treescale.events.rows import (
    GAP,
    HEARTBEAT,
    cursor,
    line,
    mark_line,
    mark_server_sent,
    sequence_of,
    server_sent,
)

EVENT = recorded(
    7, reference="v1", digest="sha256:a", request_id="r-7", payload={"text": "two\nlines"}
)


def test_a_line_is_one_object() -> None:
    text = line(EVENT)
    assert text.endswith(b"}\n")
    assert text.count(b"\n") == 1
    assert json.loads(text) == {
        "sequence": 7,
        "id": "id-7",
        "kind": "image.pushed",
        "at": "1970-01-01T00:16:47Z",
        "actor": "alice",
        "request_id": "r-7",
        "namespace": "alice",
        "repository": "alice/app",
        "reference": "v1",
        "digest": "sha256:a",
        "previous_digest": None,
        "payload": {"text": "two\nlines"},
    }


def test_a_server_sent_event_has_its_cursor() -> None:
    place, kind, data, *rest = server_sent(EVENT).decode().split("\n")
    assert place == f"id: {cursor(7)}"
    assert kind == "event: image.pushed"
    assert json.loads(data.removeprefix("data: "))["sequence"] == 7
    assert rest == ["", ""]


def test_marks_are_no_events() -> None:
    assert json.loads(mark_line(GAP, 7)) == {"kind": "gap", "cursor": cursor(7)}
    assert mark_server_sent(GAP, 7).decode() == f"id: {cursor(7)}\nevent: gap\ndata: {{}}\n\n"
    assert mark_server_sent(HEARTBEAT, 7).decode() == f"id: {cursor(7)}\n: heartbeat\n\n"


@given(st.integers(0, 2**63 - 1))
def test_a_cursor_is_read_as_it_was_written(sequence: int) -> None:
    assert sequence_of(cursor(sequence)) == sequence


@given(st.text(max_size=80))
def test_any_other_text_is_refused(text: str) -> None:
    with suppress(PageInvalid):
        assert sequence_of(text) < 2**63


def test_what_no_cursor_is() -> None:
    for text in ("", "7", "MS54", "x" * 100, cursor(2**63), "MS4tMQ", "MS7CsQ", "é"):
        with pytest.raises(PageInvalid):
            sequence_of(text)

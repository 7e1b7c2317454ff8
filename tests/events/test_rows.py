"""How an event goes out, and what a cursor is."""

import base64
import json
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.events.values import recorded
from treescale.errors import PageInvalid
from treescale.events.rows import (
    CURSOR_CHARACTERS_MAX,
    GAP,
    HEARTBEAT,
    cursor,
    json_of,
    json_within,
    line,
    mark_line,
    mark_server_sent,
    place_of,
    server_sent,
)
from treescale.metadata.events.recorded import Place

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
    assert place == f"id: {cursor(EVENT.place)}"
    assert kind == "event: image.pushed"
    assert json.loads(data.removeprefix("data: "))["sequence"] == 7
    assert rest == ["", ""]


def test_marks_are_no_events() -> None:
    place, text = EVENT.place, cursor(EVENT.place)
    assert json.loads(mark_line(GAP, place)) == {"kind": "gap", "cursor": text}
    assert mark_server_sent(GAP, place).decode() == f"id: {text}\nevent: gap\ndata: {{}}\n\n"
    assert mark_server_sent(HEARTBEAT, place).decode() == f"id: {text}\n: heartbeat\n\n"


@given(st.builds(Place, st.integers(0, 2**63 - 1), st.sampled_from(["", "5062b3687d5a"])))
def test_a_cursor_is_read_as_it_was_written(place: Place) -> None:
    assert place_of(cursor(place)) == place
    assert len(cursor(place)) <= CURSOR_CHARACTERS_MAX


def test_a_cursor_of_before_goes_on() -> None:
    """It has no mark: nobody can tell whether its event is still the same."""
    text = base64.urlsafe_b64encode(b"1.4711").decode().rstrip("=")
    assert place_of(text) == Place(4711)


def test_an_event_has_the_mark_of_its_id() -> None:
    event = replace(EVENT, event_id="01a22ef9-834a-7c6f-9688-55062b3687d5")
    assert event.place == Place(7, "55062b3687d5")


@given(st.text(max_size=80))
def test_any_other_text_is_refused(text: str) -> None:
    with suppress(PageInvalid):
        assert place_of(text).sequence < 2**63


def test_what_no_cursor_is() -> None:
    texts = ("", "7", "MS54", "x" * 100, cursor(Place(2**63)), "MS4tMQ", "MS7CsQ", "é")
    for text in (*texts, cursor(Place(1, "a b")), cursor(Place(1, "x" * 17))):
        with pytest.raises(PageInvalid):
            place_of(text)


def test_an_event_that_is_too_large_goes_without_its_largest_members() -> None:
    event = replace(EVENT, payload={"a": "x" * 100, "b": "y" * 1000, "c": 1})
    assert json_within(event, 10_000) == json_of(event)
    cut = json_within(event, len(json_of(event)) - 1)
    assert cut is not None
    assert json.loads(cut)["payload"] == {"a": "x" * 100, "c": 1, "left_out": ["b"]}
    least = json_within(event, len(json_of(replace(event, payload={}))) + 40)
    assert least is not None
    assert json.loads(least)["payload"] == {"c": 1, "left_out": ["b", "a"]}
    assert json_within(event, 100) is None

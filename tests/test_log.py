"""One line of JSON an event, whatever is in it."""

import io
import json
import sys

import pytest
import structlog

from treescale.log import configure_logging, get_logger


@pytest.mark.parametrize("value", ["plain", "é\n", "\udce9", object, {"a": 1}])
def test_an_event_is_one_line_of_json(monkeypatch: pytest.MonkeyPatch, value: object) -> None:
    written = io.BytesIO()
    before = structlog.get_config()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", io.TextIOWrapper(written))
        try:
            configure_logging(json=True)
            get_logger().info("request", path=value)
        finally:
            structlog.configure(**before)
        text = written.getvalue()
    assert text.count(b"\n") == 1
    event = json.loads(text)
    assert event["event"] == "request"
    assert event["level"] == "info"
    assert event["timestamp"].endswith("Z")
    if isinstance(value, str):
        assert event["path"] == value

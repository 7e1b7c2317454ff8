"""One line of JSON an event, whatever is in it and whoever says it."""

import asyncio
import gc
import json
import logging
import os
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.log_state import log_restored
from treescale.log import (
    EXCEPTION_CHARACTERS_MAX,
    LINE_BYTES_MAX,
    FrequentEvent,
    close_log,
    configure_logging,
    get_logger,
    hear_everything,
    log_in_background,
    tell_of_loop,
)

SECRET = "correct horse battery staple"
Written = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def restored() -> Iterator[None]:
    with log_restored():
        yield


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    yield fd
    os.close(fd)


@pytest.fixture
def written(file: int, tmp_path: Path, restored: None) -> Written:
    """Log JSON to a file; return what reads it."""
    del restored
    configure_logging(json=True, fd=file)

    def read() -> list[dict[str, Any]]:
        close_log()
        text = (tmp_path / "log").read_text()
        assert text == "" or text.endswith("\n")
        return [json.loads(line) for line in text.splitlines()]

    return read


class Angry:
    """Whatever is asked of it, it raises."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "value", ["plain", "é\n", "\udce9", object, {"a": 1}, 2**80, float("nan"), b"\xff", {1: {2}}]
)
def test_an_event_is_one_line_of_json(written: Written, value: object) -> None:
    get_logger().info("request", path=value)
    (event,) = written()
    assert event["event"] == "request"
    assert event["level"] == "info"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", event["timestamp"])
    if isinstance(value, str):
        assert event["path"] == value


@pytest.mark.parametrize(
    "path",
    ["plain", 'é"\n', "\udce9", "x" * LINE_BYTES_MAX],
    ids=["plain", "quoted", "odd", "long"],
)
def test_a_frequent_event_has_the_line_of_any_other(written: Written, path: str) -> None:
    often = FrequentEvent("request", path=path, status=200)
    for number in (1, 2):
        often.tell(seconds=0.5, request_id=str(number))
        get_logger().info("request", path=path, status=200, seconds=0.5, request_id=str(number))
    lines = written()
    assert all([*line] == [*lines[0]] for line in lines), "their fields in one order"
    told = [{**line, "timestamp": ""} for line in lines]
    assert told[0] == told[1] != told[2] == told[3]


def test_a_frequent_event_is_told_where_events_are(file: int, tmp_path: Path) -> None:
    often = FrequentEvent("request", path="/")
    with log_restored():
        configure_logging(json=True, level="warning", fd=file)
        often.tell(seconds=0.5)
        configure_logging(json=False, fd=file)
        often.tell(seconds=0.5)
        close_log()
        with capture_logs() as captured:
            often.tell(seconds=0.5)
    assert captured == [{"path": "/", "seconds": 0.5, "event": "request", "log_level": "info"}]
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert "request" in line
    assert not line.startswith("{")


@pytest.mark.parametrize("json_lines", [True, False])
def test_what_cannot_even_be_shown_is_a_line(
    file: int, tmp_path: Path, restored: None, *, json_lines: bool
) -> None:
    del restored
    configure_logging(json=json_lines, fd=file)
    get_logger().info("request", path=Angry(), other="\udce9")
    assert (tmp_path / "log").read_bytes().count(b"\n") == 1


def test_a_long_event_is_cut_where_it_is_long(written: Written) -> None:
    def deep(levels: int) -> None:
        if levels:
            deep(levels - 1)
        raise ValueError("the reason" + "\n" * 3)

    try:
        deep(400)
    except ValueError as error:
        get_logger().error("failed", path="x" * 50_000, size=7, exc_info=error, notes=["y" * 9000])
    (event,) = written()
    assert len(json.dumps(event)) < LINE_BYTES_MAX
    assert len(event["path"]) < 3000
    assert event["size"] == 7
    assert "the reason" in event["exception"]
    assert len(event["exception"]) <= EXCEPTION_CHARACTERS_MAX + 2


@pytest.mark.parametrize("json_lines", [True, False])
def test_a_traceback_shows_no_values(
    file: int, tmp_path: Path, restored: None, *, json_lines: bool
) -> None:
    del restored

    def check(password: str) -> None:
        raise ValueError(f"{len(password)} characters")

    configure_logging(json=json_lines, fd=file)
    try:
        check(SECRET)
    except ValueError as error:
        get_logger().error("failed", exc_info=error)
    text = (tmp_path / "log").read_text()
    assert "28 characters" in text
    assert "in check" in text
    assert SECRET not in text


def test_levels(file: int, tmp_path: Path, restored: None) -> None:
    del restored
    configure_logging(json=True, level="warning", fd=file)
    get_logger().info("request")
    get_logger().warning("slow")
    assert (tmp_path / "log").read_bytes().count(b"\n") == 1


def test_in_the_background_lines_keep_their_order(written: Written) -> None:
    get_logger().info("first", number=-1)
    log_in_background()
    for number in range(1000):
        get_logger().info("more", number=number)
    assert [event["number"] for event in written()] == list(range(-1, 1000))


# Whoever else speaks


def test_libraries_are_heard_in_one_line_each(written: Written) -> None:
    hear_everything()
    logging.getLogger("some.library").error("two\nlines %s", 7)
    logging.getLogger("some.library").warning("arguments that do not fit: %d", "x")
    logging.getLogger("some.library").info("not of interest")
    logging.getLogger("other").error("failed", exc_info=KeyError("x"))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    first, second, third, fourth = written()
    assert (first["event"], first["library"], first["message"]) == (
        "library.said",
        "some.library",
        "two\nlines 7",
    )
    assert "arguments that do not fit" in second["message"]
    assert "KeyError" in third["exception"]
    assert (fourth["library"], "old" in fourth["message"]) == ("py.warnings", True)


def test_a_thread_that_fails_is_an_event(written: Written) -> None:
    hear_everything()

    def fail() -> None:
        raise ValueError("in a thread")

    thread = threading.Thread(target=fail, name="worker-1")
    thread.start()
    thread.join()
    (event,) = written()
    assert (event["event"], event["thread"]) == ("thread.failed", "worker-1")
    assert "in a thread" in event["exception"]


def test_a_process_that_fails_and_an_object_that_cannot_end_are_events(written: Written) -> None:
    hear_everything()
    error = ValueError("nobody caught it")
    sys.excepthook(ValueError, error, None)

    class Object:
        def __del__(self) -> None:
            raise ValueError("at the end")

    Object()
    gc.collect()
    process, thing = written()
    assert process["event"] == "process.failed"
    assert thing["event"] == "object.failed"


@pytest.mark.parametrize("of_task", [True, False])
def test_an_exception_that_nobody_retrieves_is_an_event(written: Written, *, of_task: bool) -> None:
    async def fail() -> None:
        raise ValueError("nobody asked")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(tell_of_loop)
        if of_task:
            task = loop.create_task(fail())
            await asyncio.sleep(0.01)
            del task
        else:
            future = loop.create_future()
            future.set_exception(ValueError("nobody asked"))
            del future
        gc.collect()

    asyncio.run(main())
    (event,) = written()
    assert event["event"] == "loop.exception"
    assert event["message"].endswith("exception was never retrieved")
    assert "nobody asked" in event["exception"]

"""Logging: events with keys, one line each, on standard error.

People at a terminal get aligned text, everything else gets JSON. Nothing secret is ever a value.
What Python and its libraries say (`logging`, `warnings`, exceptions that nobody caught) are events
as well. How lines are written, and what becomes of those that cannot be, is in `lines`.
"""

import json as plain_json
import logging
import sys
import threading
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final

import msgspec

from treescale.lines import Lines
from treescale.spared import without

# It would import rich and pygments, of use for tracebacks alone that no line of ours shows.
with without("rich"):
    import structlog

LINE_BYTES_MAX: Final = 16 * 1024
"""A longer one has its long values cut."""
VALUE_CHARACTERS_MAX: Final = 2000
EXCEPTION_CHARACTERS_MAX: Final = 8000
_STANDARD_ERROR: Final = 2
_STAMP_BYTES: Final = 40
"""A time, and a line's end after it."""

Event = dict[str, Any]


def configure_logging(*, json: bool, level: str = "info", fd: int = _STANDARD_ERROR) -> Lines:
    """Set up the process's log, and return where its lines go. Called before the first event.

    Forks inherit it; one that is not forked any more may write `in_background`.
    """
    lines = Lines(fd, _dropped_line if json else _dropped_text)
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        _TIME_STAMPER,
        structlog.processors.format_exc_info,
        _json if json else _text(),
    ]
    threshold = logging.getLevelNamesMapping()[level.upper()]
    global _lines, _into_json  # noqa: PLW0603  a process has one standard error
    _lines = lines
    _into_json = processors if json and threshold <= logging.INFO else None
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *_: _Logger(lines),
        cache_logger_on_first_use=True,
    )
    return lines


_lines: Lines | None = None
_into_json: list[structlog.typing.Processor] | None = None
"""What makes JSON of events that are told; a test puts others in their place. None: no JSON."""


def log_errors_only() -> None:
    """Set up the log of a command that does a server's work; where one is set up, leave it."""
    if _lines is None:
        configure_logging(json=not sys.stderr.isatty(), level="error")


def log_in_background() -> None:
    """Have a thread of its own write the lines of this process, which is forked no more."""
    if _lines is not None:
        _lines.in_background()


def hear_dropped_lines(heard: Callable[[int], None]) -> None:
    """Have it heard how many lines of this process are dropped, each time."""
    if _lines is not None:
        _lines.heard = heard


def close_log() -> None:
    """Wait a moment until the lines of this process are written: it ends."""
    if _lines is not None:
        _lines.close()


def get_logger() -> structlog.typing.FilteringBoundLogger:
    """Return the log; events go to it as `log.info("blob.committed", digest=…)`."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return logger


def hear_everything() -> None:
    """Have everything else that speaks of errors speak here, in one line each."""
    logging.basicConfig(handlers=[_Heard()], level=logging.WARNING, force=True)
    logging.raiseExceptions = False
    logging.captureWarnings(capture=True)
    sys.excepthook = _uncaught
    threading.excepthook = lambda args: _told(
        "thread.failed", args.exc_value, thread=args.thread.name if args.thread else ""
    )
    sys.unraisablehook = lambda args: _told(
        "object.failed", args.exc_value, message=args.err_msg or "", object=_shown(args.object)
    )


def tell_of_loop(_loop: AbstractEventLoop, context: Mapping[str, Any]) -> None:
    """Tell of what an event loop could tell nobody else: exceptions that nobody retrieved."""
    error = context.get("exception")
    more = {
        key: _shown(value)[:VALUE_CHARACTERS_MAX]
        for key, value in context.items()
        if key not in ("message", "exception")
    }
    _told("loop.exception", error, message=str(context.get("message", "")), **more)


def _told(event: str, error: BaseException | None, **more: object) -> None:
    trace = {} if error is None else {"exc_info": error}
    get_logger().error(event, error=str(error), **more, **trace)


def _uncaught(
    _kind: type[BaseException], error: BaseException, _trace: TracebackType | None
) -> None:
    _told("process.failed", error)


class _Heard(logging.Handler):
    """Makes an event of what a library logs."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
        except Exception:  # noqa: BLE001  its arguments do not fit: the library's mistake
            text = str(record.msg)
        error = record.exc_info[1] if record.exc_info else None
        trace = {} if error is None else {"exc_info": error}
        write = get_logger().error if record.levelno >= logging.ERROR else get_logger().warning
        write("library.said", library=record.name, message=text, **trace)


class FrequentEvent:
    """An event that is told often, and differs little: what is the same is encoded once.

    Its line is what `get_logger().info(event, **fields, **more)` writes, at a third of the cost.
    """

    def __init__(self, event: str, **fields: str | int) -> None:
        """Say what is the same each time."""
        self._event, self._fields = event, fields
        self._before = _encoded(fields)[:-1]
        self._after = b"," + _encoded({"event": event, "level": "info"})[1:-1] + b',"timestamp":"'

    def tell(self, **more: float | str) -> None:
        """Log the event with the rest of its fields."""
        if _lines is not None and _into_json is not None and _into_json[-1] is _json:
            line = b"".join((self._before, b",", _encoded(more)[1:-1], self._after))
            if len(line) + _STAMP_BYTES <= LINE_BYTES_MAX:
                _lines.write(line + _TIME_STAMPER.stamp().encode() + b'"}\n')
                return
        get_logger().info(self._event, **self._fields, **more)


class _TimeStamper:
    """Says of an event when it was, in RFC 3339; of each second only the first event writes it out.

    To write out all of it each time costs a small request as much as the rest of its line.
    """

    def __init__(self) -> None:
        self._known = (0, "")

    def __call__(
        self, _logger: object, _method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        event["timestamp"] = self.stamp()
        return event

    def stamp(self) -> str:
        """Return the time of a line that is written now."""
        now = time.time()  # noqa: TID251  it says when this very line was written
        second = int(now)
        known, text = self._known
        if known != second:
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._known = (second, text)
        return f"{text}.{int((now - second) * 1_000_000):06d}Z"


_TIME_STAMPER: Final = _TimeStamper()


class _Logger:
    """What structlog gives rendered events to."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def msg(self, message: str | bytes) -> None:
        """Write the line."""
        data = message.encode(errors="backslashreplace") if isinstance(message, str) else message
        self._lines.write(data + b"\n")

    log = debug = info = warn = warning = error = critical = failure = fatal = exception = msg


def _json(_logger: object, _method: str, event: structlog.typing.EventDict) -> bytes:
    """Return an event as JSON. One line a request is a tenth of a small request's cost."""
    line = _encoded(event)
    if len(line) > LINE_BYTES_MAX:
        line = _encoded({key: _cut(key, value) for key, value in event.items()})
    return line


def _text() -> structlog.types.Processor:
    """Return what makes text for people of an event; JSON of one that it cannot show."""
    console = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(),
        # What is usual shows the values of local variables: passwords and keys among them.
        exception_formatter=structlog.dev.plain_traceback,
    )

    def render(logger: object, method: str, event: structlog.typing.EventDict) -> str | bytes:
        try:
            return str(console(logger, method, dict(event)))
        except Exception:  # noqa: BLE001  whatever a value is, an event is a line
            return _json(logger, method, event)

    return render


def _encoded(event: Mapping[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(event, enc_hook=_shown)
    except Exception:  # noqa: BLE001  whatever a value is, an event is a line
        return plain_json.dumps({str(key): _plain(value) for key, value in event.items()}).encode()


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float | bool | None) else _shown(value)


def _shown(value: object) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001  likewise
        return f"a {type(value).__name__} that cannot be shown"


def _cut(key: str, value: object) -> object:
    """Return a value that is not too long; of a traceback its end, which says the most."""
    if isinstance(value, int | float | bool | None):
        return value
    text = value if isinstance(value, str) else _shown(value)
    if key == "exception" and len(text) > EXCEPTION_CHARACTERS_MAX:
        return "… " + text[-EXCEPTION_CHARACTERS_MAX:]
    if key != "exception" and len(text) > VALUE_CHARACTERS_MAX:
        return text[:VALUE_CHARACTERS_MAX] + " …"
    return text


def _dropped_line(count: int) -> bytes:
    return _encoded({"event": "log.dropped", "level": "warning", "lines": count}) + b"\n"


def _dropped_text(count: int) -> bytes:
    return f"[warning  ] log.dropped                    lines={count}\n".encode()

"""Logging: events with keys, one line each, on standard error.

People at a terminal get aligned text, everything else gets JSON. Nothing secret is ever a value.
"""

import logging
import sys

import structlog


def configure_logging(*, json: bool, level: str = "info") -> None:
    """Set up the process's log. Called once, before the first event."""
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer()
        if json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )


def get_logger() -> structlog.typing.FilteringBoundLogger:
    """Return the log; events go to it as `log.info("blob.committed", digest=…)`."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return logger

"""The log of a process as it was before a test set it up."""

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from treescale import log


@contextmanager
def log_restored() -> Iterator[None]:
    """Give structlog, logging and the hooks back as they were."""
    before, lines, into_json = structlog.get_config(), log._lines, log._into_json
    hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
    handlers, level, raised = logging.root.handlers[:], logging.root.level, logging.raiseExceptions
    yield
    structlog.configure(**before)
    log._lines, log._into_json = lines, into_json
    sys.excepthook, sys.unraisablehook, threading.excepthook = hooks
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    logging.raiseExceptions = raised
    logging.captureWarnings(capture=False)

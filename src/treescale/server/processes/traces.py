"""Spans of this process, from its begin to its end: sent, if the environment says where to."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from treescale import __version__
from treescale.log import get_logger
from treescale.tracing import TRACING

END_SECONDS_MAX: Final = 2.0
"""For what is left to send: a collector that is away must not hold up a restart."""


@contextmanager
def traced(server_id: str, environment: Mapping[str, str]) -> Iterator[None]:
    """Have spans within, if they are asked for; where they cannot be had a line says why."""
    why = TRACING.start(environment, server_id, __version__)
    if why is not None:
        get_logger().warning("tracing.unavailable", reason=why)
    try:
        yield
    finally:
        tracer, TRACING.tracer = TRACING.tracer, None
        if tracer is not None:
            ending = threading.Thread(target=tracer.end, daemon=True)
            ending.start()
            ending.join(END_SECONDS_MAX)

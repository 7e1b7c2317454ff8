"""What every test run has: the package under test named, and proof that it is the one meant."""

import gc
import os
import signal
from functools import lru_cache
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

import treescale
from tests.compiled import compile_once
from treescale.chunks.format import placement

# a table is a pure function of its layout, and takes a tenth of a second; nobody has it by name yet
placement.build_table = lru_cache(64)(placement.build_table)

compile_once()
TESTED = os.environ.get("WHEEL_UNDER_TEST")
"""Where `make test` unpacked the built wheel; unset when the source tree is meant."""
settings.register_profile("fast", max_examples=12, deadline=None)
"""What `make test-fast` takes; CI draws as many examples as hypothesis, or a test, says."""
# how long an example takes by the clock says what else the machine does
settings.register_profile("whole", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("whole")
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.processors.format_exc_info,
        # for people aligned columns are usual: a twentieth of what a request costs
        structlog.processors.KeyValueRenderer(key_order=["event"]),
    ]
)
_to_enum = signal._int_to_enum  # type: ignore[attr-defined]
# each run of a loop asks for SIGINT's handler, for which this first makes the message of an error
# and throws it away: the arguments of the task, which are all fixtures of the test, in words
signal._int_to_enum = lambda value, kind: (  # type: ignore[attr-defined]
    value if callable(value) else _to_enum(value, kind)
)


def pytest_report_header() -> str:
    """Name the package under test."""
    return f"treescale {treescale.__version__} from {Path(treescale.__file__).parent}"


def pytest_sessionstart() -> None:
    """Refuse to test the source tree where the wheel was asked for."""
    if TESTED and not Path(treescale.__file__).is_relative_to(TESTED):
        pytest.exit(f"asked to test {TESTED}, but treescale came from {treescale.__file__}", 2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark `long` what needs PostgreSQL: each process of a run would start a server for it.

    What asks for it by a parameter has the mark there.
    """
    for item in items:
        if "postgres" in getattr(item, "fixturenames", ()):
            item.add_marker("long")


gc.disable()  # until all is imported: what modules make stays


def pytest_collection_finish() -> None:
    """Let the garbage collector look at what tests make, not again and again at all of them."""
    gc.collect()
    gc.freeze()
    gc.enable()

"""What every test run has: the package under test named, and proof that it is the one meant."""

import os
from pathlib import Path

import pytest

import treescale

TESTED = os.environ.get("WHEEL_UNDER_TEST")
"""Where `make test` unpacked the built wheel; unset when the source tree is meant."""


def pytest_report_header() -> str:
    """Name the package under test."""
    return f"treescale {treescale.__version__} from {Path(treescale.__file__).parent}"


def pytest_sessionstart() -> None:
    """Refuse to test the source tree where the wheel was asked for."""
    if TESTED and not Path(treescale.__file__).is_relative_to(TESTED):
        pytest.exit(f"asked to test {TESTED}, but treescale came from {treescale.__file__}", 2)

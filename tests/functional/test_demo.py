"""The demonstration does what it says, and leaves nothing behind."""

import tempfile
from pathlib import Path

import pytest

from tests.functional.programs import run
from tests.functional.server import TREESCALE

pytestmark = pytest.mark.functional


def test_the_demo_pushes_shows_chunks_and_pulls() -> None:
    before = set(Path(tempfile.gettempdir()).glob("treescale-demo-*"))
    shown = run(TREESCALE, "demo")
    for number in (1, 2, 3):
        assert f"disk{number}" in shown
    assert "as pushed" in shown
    assert "everything removed" in shown
    assert set(Path(tempfile.gettempdir()).glob("treescale-demo-*")) == before

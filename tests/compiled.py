"""SQL statements of tests that change what they are compiled to."""

import pytest
from sqlalchemy.util import LRUCache

from treescale.metadata.engine import sqlite


def compile_apart(patch: pytest.MonkeyPatch) -> None:
    """Let this test's databases remember their own: what it changes is compiled into statements."""
    patch.setattr(sqlite, "_compiled", LRUCache(sqlite.COMPILED_MAX))

"""SQL statements of tests that change what they are compiled to."""

import pytest
from sqlalchemy.engine import Engine
from sqlalchemy.util import LRUCache

from treescale.metadata.engine import sqlite


def compile_apart(patch: pytest.MonkeyPatch) -> None:
    """Let this test's databases remember their own: what it changes is compiled into statements.

    Also those that are open already.
    """
    apart: LRUCache[object, object] = LRUCache(sqlite.COMPILED_MAX)
    remember = property(lambda _: apart, lambda _, __: None)
    patch.setattr(Engine, "_compiled_cache", remember, raising=False)
    patch.setattr(sqlite._compiled, "_data", {})

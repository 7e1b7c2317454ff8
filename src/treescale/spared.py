"""Modules that a library would import if they are there, and that this process has no use for.

Each process of a server holds what it imports for as long as it runs.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def without(name: str) -> Iterator[None]:
    """Have the imports of a block find no module of this name, unless it is imported already."""
    modules: dict[str, Any] = sys.modules
    if name in modules:
        yield
        return
    modules[name] = None  # as the import system has one that may not be imported
    try:
        yield
    finally:
        del modules[name]

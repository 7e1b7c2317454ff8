"""Imports of what only some commands need, when they need it."""

import gc
import importlib
from types import ModuleType


def imported(name: str) -> ModuleType:
    """Return the module; what it imports stays, and is not looked through for garbage meanwhile."""
    gc.disable()  # a sixth of a start
    try:
        return importlib.import_module(name)
    finally:
        gc.enable()

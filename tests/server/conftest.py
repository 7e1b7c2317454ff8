"""What tests of this room share."""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

import pytest

from tests.loops import new_uvloop
from tests.templates import migrate_by_template
from treescale.auth.passwords import Passwords
from treescale.server import start

BOTH_LOOPS = ("test_fellow_workers.py",)
"""Workers run on uvloop, which knows other names of sockets than asyncio's loop does."""


def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run on asyncio's loop, and some tests on uvloop, too."""
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    return loops | ({"uvloop": new_uvloop} if item.path.name in BOTH_LOOPS else {})


@pytest.fixture(autouse=True)
def _migrated_by_template(monkeypatch: pytest.MonkeyPatch) -> None:
    migrate_by_template(monkeypatch)


@pytest.fixture(autouse=True)
def _cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash the one of a first start with next to no memory: `auth/test_passwords` has the rest."""
    monkeypatch.setattr(start, "Passwords", partial(Passwords, memory=64))

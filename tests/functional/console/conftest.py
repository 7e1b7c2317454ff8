"""A registry with something to look at, and a Chromium: one of each for the tests of a file."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.functional.console.visitor import launch
from tests.functional.console.world import World, make_world


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser; each visitor has a context of their own in it."""
    with sync_playwright() as play:
        browser = launch(play)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server, its people, and what they have pushed."""
    world = make_world(tmp_path_factory.mktemp("console"))
    yield world
    assert world.server.stop() == 0
    log = world.server.log.read_text()
    assert '"status":500' not in log
    for secret in world.secrets:
        assert secret not in log, "a secret stands in the log"

"""Alice at her browser, and what she has pushed."""

import pytest

from tests.api.client import Client
from tests.console.web.browser import Browser
from tests.console.web.content.pushed import Pushed, push_all


@pytest.fixture
async def signed_in(browser: Browser, alice: Client) -> Browser:
    """Alice at her browser."""
    await browser.sign_in("alice", alice.password)
    return browser


@pytest.fixture
async def pushed(alice: Client) -> Pushed:
    """What she has pushed to `alice/app`."""
    return await push_all(alice.repository("alice/app"))

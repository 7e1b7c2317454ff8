"""Each page in Chromium: for everybody, by day, by night, on a phone; and nothing in it runs."""

from collections.abc import Sequence

import pytest
from playwright.sync_api import Browser

from tests.functional.console.harm import IN_THE_WAY, NO_OUTLINE, REFUSED
from tests.functional.console.visitor import WITHOUT_SCRIPTS, visiting
from tests.functional.console.world import COMPUTED, World

OF_ANYBODY: Sequence[str] = ("/-/sign-in",)
OF_ALICE: Sequence[str] = ("/-/account",)
OF_MALLORY: Sequence[str] = ("/-/account",)
OF_THE_ADMINISTRATOR: Sequence[str] = ("/-/account",)
NOWHERE = "/-/nothing"
HACKED = "() => window.hacked === 1 || document.querySelectorAll('main script, [onerror]').length"


def test_what_anybody_sees(world: World, chromium: Browser) -> None:
    with visiting(chromium, world.server) as visitor:
        for path in OF_ANYBODY:
            visitor.open(path)
            visitor.check_for_everybody()
        visitor.open(NOWHERE, 404)
        visitor.check_for_everybody()


@pytest.mark.parametrize("who", ["alice", "mallory", "admin"])
def test_what_who_is_signed_in_sees(world: World, chromium: Browser, who: str) -> None:
    account = {
        "alice": world.alice,
        "mallory": world.mallory,
        "admin": world.server.admin_account,
    }[who]
    paths = {"alice": OF_ALICE, "mallory": OF_MALLORY, "admin": OF_THE_ADMINISTRATOR}[who]
    with visiting(chromium, world.server) as visitor:
        visitor.sign_in(account)
        for path in paths:
            visitor.open(path)
            visitor.check_for_everybody()
            assert not visitor.page.evaluate(HACKED), path
            assert COMPUTED not in visitor.words
    with visiting(chromium, world.server, WITHOUT_SCRIPTS) as visitor:
        visitor.sign_in(account)
        for path in paths:
            visitor.open(path)
            assert visitor.page.get_by_role("heading", level=1).count() == 1


def test_what_the_policy_refuses_would_be_heard(world: World, chromium: Browser) -> None:
    with visiting(chromium, world.server) as visitor:
        for name, harm in REFUSED.items():
            visitor.open("/-/sign-in")
            assert not visitor.problems
            visitor.page.evaluate(harm)
            visitor.page.wait_for_timeout(100)
            assert any("Content Security Policy" in one for one in visitor.problems), name
            assert not visitor.page.evaluate("() => window.hacked === 1")
            visitor.problems.clear()


def test_what_keeps_people_out_would_be_found(world: World, chromium: Browser) -> None:
    with visiting(chromium, world.server) as visitor:
        for name, harm in IN_THE_WAY.items():
            visitor.open("/-/sign-in")
            visitor.page.evaluate(harm)
            with pytest.raises(AssertionError, match=r"wider than|serious|critical"):
                visitor.check_for_everybody()
            assert name
        visitor.open("/-/sign-in")
        visitor.page.evaluate(NO_OUTLINE)
        with pytest.raises(AssertionError, match="its focus is not seen"):
            visitor.tab_to("User name")

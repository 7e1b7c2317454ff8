"""Each page in Chromium: for everybody, by day, by night, on a phone; and nothing in it runs."""

import pytest
from playwright.sync_api import Browser

from tests.functional.console.harm import IN_THE_WAY, NO_OUTLINE, REFUSED
from tests.functional.console.paths import OF_ANYBODY, PATHS
from tests.functional.console.visitor import DESKTOP, WITHOUT_SCRIPTS, Look, keep_pictures, visiting
from tests.functional.console.world import COMPUTED, HOSTILE, World

PAGES = [(who, name) for who, paths in PATHS.items() for name in paths]
NOWHERE = "/-/nothing"
HACKED = """() => window.hacked === 1
  || document.querySelectorAll('main script, [onerror], [style],'
    + 'a[href^="java" i], a[href^="data" i], a[href^="//"]').length"""


def test_what_anybody_sees(world: World, chromium: Browser) -> None:
    with visiting(chromium, world.server) as visitor:
        for name, path in OF_ANYBODY.items():
            visitor.open(path)
            visitor.check_for_everybody()
            keep_pictures(visitor, name)
        visitor.open(NOWHERE, 404)
        visitor.check_for_everybody()


@pytest.mark.parametrize(("who", "name"), PAGES, ids=["-".join(page) for page in PAGES])
def test_what_one_sees_who_is_signed_in(
    world: World, chromium: Browser, who: str, name: str
) -> None:
    path = PATHS[who][name].format(hook=world.hooks[0])
    look = Look(agent=HOSTILE) if who == "mallory" else DESKTOP
    with visiting(chromium, world.server, look) as visitor:
        visitor.come_back(world.people[who], world.cookies)
        visitor.open(path)
        assert not visitor.page.evaluate(HACKED), path
        assert COMPUTED not in visitor.words
        if who != "mallory":  # whose pages are those of the others
            visitor.check_for_everybody()
            keep_pictures(visitor, name)
    with visiting(chromium, world.server, WITHOUT_SCRIPTS) as visitor:
        visitor.come_back(world.people[who], world.cookies)
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

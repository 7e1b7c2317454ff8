"""Each page in Chromium: for everybody, by day, by night, on a phone; and nothing in it runs."""

from collections.abc import Mapping
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser

from tests.functional.console.harm import IN_THE_WAY, NO_OUTLINE, REFUSED
from tests.functional.console.visitor import WITHOUT_SCRIPTS, keep_pictures, visiting
from tests.functional.console.world import COMPUTED, HOSTILE, World

ASKED = quote(HOSTILE, safe="")
OF_ANYBODY = {"sign-in": "/-/sign-in", "public": "/acme/api"}
OF_ALICE = {
    "home": "/",
    "search": "/-/search?q=acme",
    "namespace": "/acme",
    "repository": "/acme/web",
    "by-date": "/acme/web?order=pushed&filter=1",
    "image": "/acme/web:1.10.0",
    "spread": "/acme/web:1.10.0/-/spread",
    "deleted": "/acme/web/-/deleted",
    "delete": "/acme/web/-/delete",
    "all-deleted": "/acme/-/deleted",
    "members": "/acme/-/members",
    "robots": "/acme/-/robots",
    "robot": "/acme/-/robots/ci",
    "hooks": "/acme/-/hooks",
    "rules": "/acme/-/rules",
    "plan": "/acme/web/-/rules/plan",
    "namespace-settings": "/acme/-/settings",
    "settings": "/acme/web/-/settings",
    "hooks-of-repository": "/acme/web/-/hooks",
    "rules-of-repository": "/acme/web/-/rules",
    "account": "/-/account",
}
OF_MALLORY = {
    "home": "/",
    "search": f"/-/search?q={ASKED}",
    "namespace": "/mallory",
    "repository": f"/mallory/app?filter={ASKED}",
    "tags": "/mallory/app",
    "image": "/mallory/app:1",
    "index": "/mallory/app:index",
    "spread": "/mallory/app:1/-/spread",
    "deleted": "/mallory/app/-/deleted",
    "delete": "/mallory/app/-/delete",
    "hooks": "/mallory/-/hooks",
    "hook": "/mallory/-/hooks/{hook}",
    "rules": "/mallory/app/-/rules",
    "settings": "/mallory/app/-/settings",
    "namespace-settings": "/mallory/-/settings",
    "account": "/-/account",
}
OF_THE_ADMINISTRATOR = {
    "cluster": "/-/cluster",
    "work": "/-/cluster/work/verify",
    "collect": "/-/cluster/work/collect",
    "read-only": "/-/cluster/read-only",
    "new-organisation": "/-/organisations/new",
    "invite": "/-/invite",
}
PATHS: Mapping[str, Mapping[str, str]] = {
    "alice": OF_ALICE,
    "mallory": OF_MALLORY,
    "admin": OF_THE_ADMINISTRATOR,
}
PAGES = [(who, name) for who, paths in PATHS.items() for name in paths]
NOWHERE = "/-/nothing"
HACKED = """() => window.hacked === 1
  || document.querySelectorAll('main script, [onerror], [style], a[href^="java" i]').length"""


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
    with visiting(chromium, world.server) as visitor:
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

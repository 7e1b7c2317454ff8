"""Invitations and resets: looking uses nothing up, using one does, and time ends it."""

import pytest
from structlog.testing import capture_logs

from tests.api.client import Client
from tests.api.running import Running
from tests.console.web.browser import Browser
from tests.contracts.metadata_values import ACTOR
from treescale.errors import LinkUnknown, UserExists, UserUnknown
from treescale.metadata.identity.links import GivenRole
from treescale.metadata.organisations import PASSWORDS_SETTING
from treescale.registry.people.accounts import INVITATION_SECONDS, RESET_SECONDS, People

NEW = "a new password"


@pytest.fixture
def people(registry: Running) -> People:
    parts = registry.parts
    return People(parts.database, parts.passwords, parts.clock)


async def test_an_invitation_makes_the_account(
    browser: Browser, other: Browser, people: People, registry: Running, alice: Client
) -> None:
    database = registry.parts.database
    await database.organisations.add("acme", alice.user, actor=ACTOR)
    roles = [GivenRole("acme", "writer"), GivenRole("acme", "maintainer", "acme/web-*")]
    secret, _ = await people.invite("carol", admin=False, roles=roles, actor=ACTOR)
    path = f"/-/invitation/{secret}"
    for _ in range(2):
        assert "invited as carol" in (await browser.get(path)).expect(200).words
    (await browser.get(f"/-/reset/{secret}")).expect(404)
    shown = await browser.post(path, new="short", again="short")
    assert "at least 8" in shown.expect(400).words
    (await browser.post(path, new=NEW, again="another one")).expect(400)
    (await browser.post(path, new=NEW, again=NEW)).expect(303)
    (await other.post(path, new=NEW, again=NEW)).expect(404)
    (await other.get(path)).expect(404)
    page = await browser.sign_in("carol", NEW)
    page = await browser.learn()
    assert "acme writer" in page.words
    assert "acme/web-*" in page.words


async def test_where_passwords_are_off_none_is_asked_for(
    browser: Browser, people: People, registry: Running
) -> None:
    await registry.parts.database.settings.put(PASSWORDS_SETTING, "off")
    await registry.parts.tokens.refresh()
    for admin in (False, True):
        secret, _ = await people.invite("carol", admin=admin, roles=[], actor=ACTOR)
        shown = (await browser.get(f"/-/invitation/{secret}")).expect(200)
        assert ('type="password"' in shown.text) is admin


async def test_its_secret_stands_in_no_log(browser: Browser, people: People) -> None:
    secret, _ = await people.invite("carol", admin=False, roles=[], actor=ACTOR)
    with capture_logs() as lines:
        (await browser.get(f"/-/invitation/{secret}")).expect(200)
        (await browser.get(f"/-/invitation/{secret}/")).expect(404)
        (await browser.ask("PUT", f"/-/invitation/{secret}", {}, b"")).expect(405)
        (await browser.get("/-/sign-in")).expect(200)
    paths = [line["path"] for line in lines if line["event"] == "request"]
    assert "/-/sign-in" in paths
    assert secret not in str(lines)


async def test_time_ends_it(browser: Browser, people: People, registry: Running) -> None:
    secret, _ = await people.invite("carol", admin=False, roles=[], actor=ACTOR)
    registry.parts.clock.skip(INVITATION_SECONDS + 1)
    (await browser.post(f"/-/invitation/{secret}", new=NEW, again=NEW)).expect(404)
    reset, _ = await people.reset("alice", actor=ACTOR)
    registry.parts.clock.skip(RESET_SECONDS + 1)
    (await browser.post(f"/-/reset/{reset}", new=NEW, again=NEW)).expect(404)
    with pytest.raises(UserUnknown):
        await registry.parts.database.users.get("carol")


async def test_a_reset_sets_the_password_once(
    browser: Browser, other: Browser, people: People, alice: Client
) -> None:
    await other.sign_in("alice", alice.password)
    first, _ = await people.reset("alice", actor=ACTOR)
    secret, _ = await people.reset("alice", actor=ACTOR)
    with pytest.raises(LinkUnknown):
        await people.look("reset", first)
    path = f"/-/reset/{secret}"
    assert "alice" in (await browser.get(path)).expect(200).words
    (await browser.post(path, new=NEW, again=NEW)).expect(303)
    (await browser.post(path, new=NEW, again=NEW)).expect(404)
    (await other.get("/-/account")).expect(303)
    await browser.sign_in("alice", NEW)


async def test_what_cannot_be_is_not_invited(people: People, registry: Running) -> None:
    await registry.parts.database.organisations.add("acme", "alice", actor=ACTOR)
    for name in ("alice", "acme"):
        with pytest.raises(UserExists):
            await people.invite(name, admin=False, roles=[], actor=ACTOR)
    with pytest.raises(UserUnknown):
        await people.reset("nobody", actor=ACTOR)
    (link,) = [(await people.invite("carol", admin=False, roles=[], actor=ACTOR))[1]]
    assert [one.user for one in await people.invitations("", 9)] == ["carol"]
    await people.withdraw(link.link_id, actor=ACTOR)
    assert await people.invitations("", 9) == []
    with pytest.raises(LinkUnknown):
        await people.withdraw(link.link_id, actor=ACTOR)

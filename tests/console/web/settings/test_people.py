"""What administrators make for others: organisations, and links of invitations."""

import re

from tests.api.client import Client
from tests.api.running import Running
from tests.console.asked import ask
from tests.console.web.browser import Browser
from tests.console.web.settings.conftest import At


async def test_an_administrator_makes_an_organisation(at: At, root: Client) -> None:
    here = "/-/organisations/new"
    browser = await at("root")
    assert 'value="root"' in (await browser.get(here)).text
    for name, owner, status in (("acme", "alice", 409), ("A B", "alice", 400), ("ours", "no", 404)):
        shown = (await browser.post(here, name=name, owner=owner)).expect(status)
        assert f'value="{name}"' in shown.text
        assert 'role="alert"' in shown.text
    moved = (await browser.post(here, name="ours", owner="alice")).expect(303)
    assert moved.location == "/ours/-/members?done=people_added"
    assert "alice" in (await browser.get(moved.location)).words
    assert (await ask(root, "GET", "/organisations/ours")).status == 200


async def test_somebody_is_invited_by_a_link_that_is_shown_once(at: At, alice: Client) -> None:
    browser = await at("root")
    shown = await browser.post("/-/invite", name="dora", namespace="acme", role="writer")
    (path,) = re.findall(r"https?://[^/]+(/-/invitation/[A-Za-z0-9_-]+)", shown.expect(200).text)
    taken = await browser.post(path, new="a long password", again="a long password")
    taken.expect(303)
    found = (await ask(alice, "GET", "/organisations/acme/members")).expect(200).json["members"]
    assert ("dora", "writer") in {(one["user"], one["role"]) for one in found}


async def test_what_is_refused_is_said_beside_the_form(at: At) -> None:
    browser = await at("root")
    for fields, status in (
        ({"name": "alice"}, 409),
        ({"name": "D O"}, 400),
        ({"name": "dora", "namespace": "none", "role": "reader"}, 404),
        ({"name": "dora", "namespace": "acme", "role": "king"}, 400),
    ):
        shown = await browser.post("/-/invite", **fields)
        assert shown.status == status, (fields, shown.words[:300])
        assert "Make the link" in shown.words


async def test_the_pages_for_it_are_found_from_home(at: At) -> None:
    root, alice = await at("root"), await at("alice")
    assert 'href="/-/people"' in (await root.get("/")).text
    shown = (await root.get("/-/people")).expect(200)
    assert 'href="/-/invite"' in shown.text
    assert 'href="/-/organisations/new"' in shown.text
    assert "alice" in shown.words
    assert 'href="/-/people"' not in (await alice.get("/")).text
    (await alice.get("/-/people")).expect(403)


async def test_who_forgot_the_password_gets_a_link(at: At, registry: Running) -> None:
    root = await at("root")
    (await root.post("/-/people/reset", user="nobody")).expect(404)
    shown = await root.post("/-/people/reset", user="reader")
    (path,) = re.findall(r"https?://[^/]+(/-/reset/[A-Za-z0-9_-]+)", shown.expect(200).text)
    (await root.post(path, new="another password", again="another password")).expect(303)
    browser = Browser(root.session, registry.url)
    await browser.sign_in("reader", "another password")


async def test_an_account_is_suspended_and_an_invitation_withdrawn(at: At) -> None:
    root, reader = await at("root"), await at("reader")
    moved = await root.post("/-/people/suspend", user="reader", suspended="1")
    assert moved.expect(303).location == "/-/people?done=people_suspended"
    assert "End the suspension" in (await root.get("/-/people")).words
    (await reader.get("/")).expect(303)
    (await root.post("/-/people/suspend", user="reader", suspended="0")).expect(303)
    assert "End the suspension" not in (await root.get("/-/people")).words
    (await root.post("/-/invite", name="dora")).expect(200)
    page = (await root.get("/-/people")).expect(200)
    assert "dora" in page.words
    (await root.post("/-/people/withdraw", invitation=page.field("invitation"))).expect(303)
    assert "dora" not in (await root.get("/-/people")).words

"""What administrators make for others: organisations, and links of invitations."""

import re

from tests.api.client import Client
from tests.console.asked import ask
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

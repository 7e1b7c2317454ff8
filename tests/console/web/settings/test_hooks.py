"""Webhooks: added, shown with what was sent, rotated, switched off and on, removed."""

import re

from tests.console.web.settings.conftest import At
from tests.console.web.settings.test_robots import secret_of

HOOK = {"url": "https://hooks.example.com/in?token=hidden", "format": "harbor", "kinds": "tag.*"}


async def test_a_hook_of_a_repository(at: At) -> None:
    maintainer = await at("maintainer")
    here = "/acme/app/-/hooks"
    shown = await maintainer.post(here, **HOOK)
    secret = secret_of(shown)
    (to,) = re.findall(r'<p><a href="([^"]+)"', shown.text)
    page = (await maintainer.get(to)).expect(200)
    for text in ("https://hooks.example.com/in?***", "acme/app", "harbor", "tag.*", "enabled"):
        assert text in page.words
    assert secret not in page.text
    assert "token=" not in page.text
    moved = (await maintainer.post(f"{to}/ping")).expect(303)
    page = await maintainer.get(moved.location)
    assert "ping" in page.words
    assert "waiting" in page.words
    (delivery,) = re.findall(r'name="delivery" value="(\d+)"', page.text)
    (await maintainer.post(f"{to}/redeliver", delivery=delivery)).expect(303)
    assert (await maintainer.get(to)).text.count('name="delivery"') == 2
    (await maintainer.post(f"{to}/redeliver", delivery="0")).expect(404)
    other = secret_of(await maintainer.post(f"{to}/rotate"))
    assert other != secret
    (await maintainer.post(f"{to}/rotate", secret="a-shared-secret")).expect(303)
    (await maintainer.post(f"{to}/rotate", secret="not a secret")).expect(400)
    (await maintainer.post(f"{to}/disable")).expect(303)
    page = await maintainer.get(to)
    assert "disabled by maintainer" in page.words
    assert "Send again" not in page.words
    (await maintainer.post(f"{to}/ping")).expect(400)
    (await maintainer.post(f"{to}/enable")).expect(303)
    assert "Send a ping" in (await maintainer.get(to)).words
    moved = (await maintainer.post(f"{to}/remove")).expect(303)
    assert (
        "The webhook is removed."
        in (await maintainer.get("/acme/-/hooks?done=hooks_removed")).words
    )
    (await maintainer.get(to)).expect(404)


async def test_each_page_lists_what_hears_of_it(at: At) -> None:
    owner = await at("alice")
    given = HOOK | {"secret": "a-shared-secret"}
    await owner.post("/alice/-/hooks", **given, scope="alice")
    for scope in ("acme", "acme/web-*", "acme/app"):
        (await owner.post("/acme/-/hooks", **given, scope=scope)).expect(303)
    listed = {
        path: set(re.findall(r"<td><code>([^<]+)</code></td>", (await owner.get(path)).text))
        for path in ("/acme/-/hooks", "/acme/app/-/hooks", "/alice/-/hooks")
    }
    assert listed == {
        "/acme/-/hooks": {"acme", "acme/web-*", "acme/app"},
        "/acme/app/-/hooks": {"acme", "acme/app"},
        "/alice/-/hooks": {"alice"},
    }
    (hook,) = re.findall(r"/alice/-/hooks/([0-9a-f]+)", (await owner.get("/alice/-/hooks")).text)
    (await owner.get(f"/acme/-/hooks/{hook}")).expect(404)
    (await owner.post(f"/acme/-/hooks/{hook}/remove")).expect(404)
    root = await at("root")
    assert len(re.findall(r"<td><code>", (await root.get("/acme/-/hooks")).text)) == 3
    bob = await at("bob")
    (await bob.get(f"/alice/-/hooks/{hook}")).expect(404)
    (await bob.get(f"/bob/-/hooks/{hook}")).expect(404)


async def test_what_is_refused_is_said_beside_the_form(at: At) -> None:
    owner = await at("alice")
    for changed, status, said in (
        ({"url": "http://127.0.0.1/"}, 400, "127.0.0.1"),
        ({"url": "gopher://x"}, 400, "http"),
        ({"format": "else"}, 400, "format"),
        ({"kinds": "<script>"}, 400, "a kind is a word"),
        ({"scope": "alice/*"}, 400, "is of acme"),
        ({"scope": "*"}, 400, "is of acme"),
        ({"template": "{"}, 400, "a template is for"),
    ):
        shown = await owner.post("/acme/-/hooks", **(HOOK | changed))
        assert said in shown.expect(status).words, changed
        assert "Add a webhook" in shown.words
        assert shown.text.count("<script") == 1

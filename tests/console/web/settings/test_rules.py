"""Rules for tags: made, explained, looked at before they remove anything, confirmed, removed."""

import re

from tests.api.client import Client
from tests.console.asked import ask
from tests.console.web.settings.conftest import At

APP, ACME = "/acme/app/-/rules", "/acme/-/rules"


async def test_from_a_rule_to_what_goes(at: At, alice: Client) -> None:
    await alice.repository("acme/app").push_image("v1", b"a layer")
    await alice.repository("acme/app").push_image("pr-1", b"a third layer")
    maintainer = await at("maintainer")
    assert "There is none" in (await maintainer.get(ACME)).words
    (await maintainer.post(ACME, kind="immutable", tags="v*, release-*")).expect(303)
    moved = (await maintainer.post(APP, kind="retention", tags="pr-*", keep_last="1")).expect(303)
    shown = await maintainer.get(moved.location)
    assert "waits until you confirm" in shown.words
    assert "stays where it points" in shown.words
    assert "keep the last 1" in shown.words
    (rule,) = re.findall(r"/acme/app/-/rules/(\d+)/remove", shown.text)
    plan = (await maintainer.get(f"{APP}/plan")).expect(200)
    assert "0 tags would go now" in plan.words
    await alice.repository("acme/app").push_image("pr-2", b"a fourth layer")
    plan = (await maintainer.get(f"{APP}/plan")).expect(200)
    assert "1 tags would go now" in plan.words
    assert "acme/app:pr-1" in plan.words
    digest = plan.field("digest")
    stale = (await maintainer.post(f"{APP}/plan", digest="sha256:" + "0" * 64)).expect(409)
    assert "acme/app:pr-1" in stale.words
    (await maintainer.post(f"{APP}/plan", digest=digest)).expect(303)
    assert "Have 1 tags go" not in (await maintainer.get(f"{APP}/plan")).words
    for tag, said in (
        ("v1", "v1 stays. It is immutable."),
        ("pr-1", "pr-1 goes within the hour."),
        ("1", "No rule of retention speaks of it."),
    ):
        assert said in " ".join((await maintainer.get(f"{APP}?tag={tag}")).words.split()), tag
    (await maintainer.get(f"{APP}?tag=none")).expect(404)
    removal = (await maintainer.get(f"{APP}/{rule}/remove")).expect(200)
    assert "What would go without it" in removal.words
    (await maintainer.post(f"{APP}/{rule}/remove", digest=removal.field("digest"))).expect(303)
    (await maintainer.get(f"{APP}/{rule}/remove")).expect(404)
    found = (await ask(alice, "GET", "/rules/acme/app")).expect(200).json["rules"]
    assert [one["kind"] for one in found] == ["immutable"]


async def test_who_may_pull_sees_the_rules_and_changes_none(at: At) -> None:
    maintainer, reader = await at("maintainer"), await at("reader")
    (await maintainer.post(ACME, kind="immutable", tags="v*", may_delete="1")).expect(303)
    for here in (APP, ACME):
        shown = (await reader.get(here)).expect(200)
        assert "but may be deleted by hand" in shown.words
        assert "Make the rule" not in shown.words
        assert "Remove rule" not in shown.words
    (await reader.get(f"{ACME}/1/remove")).expect(403)
    (await reader.post(f"{ACME}/1/remove", digest="")).expect(403)
    (await maintainer.get(f"{APP}/1/remove")).expect(404)  # the namespace's


async def test_what_is_refused_is_said_beside_the_form(at: At) -> None:
    maintainer = await at("maintainer")
    (await maintainer.post(ACME, kind="immutable", tags="v*")).expect(303)
    for fields, status, said in (
        ({"kind": "immutable", "tags": "v*"}, 409, "rule"),
        ({"kind": "immutable", "tags": "a/b"}, 400, "pattern"),
        ({"kind": "else", "tags": "v*"}, 400, "kind"),
        ({"kind": "retention", "tags": "*", "keep_last": "many"}, 400, "say a number"),
        ({"kind": "retention", "tags": "*", "keep_last": "9" * 40}, 400, "keep"),
        ({"kind": "retention", "tags": "*", "keep_pushed": "soon"}, 400, "soon"),
        ({"kind": "retention", "tags": "<script>", "keep_last": "1"}, 400, "pattern"),
    ):
        shown = await maintainer.post(ACME, **fields)
        assert shown.status == status, (fields, shown.words[:300])
        assert said in shown.words, fields
        assert shown.text.count("<script") == 1

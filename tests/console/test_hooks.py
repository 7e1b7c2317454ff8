"""`/api/v1/hooks`: each sees and changes their own; nothing secret comes back."""

from typing import Any, Final

import pytest

from tests.api.client import Client
from tests.console.asked import ask
from tests.console.test_api import problem
from treescale.console.problems import TYPE

SECRET: Final = "a-shared-secret"
NEW: Final[dict[str, Any]] = {
    "scope": "alice/*",
    "url": "https://hooks.example.com/in?token=hidden-in-query",
    "format": "harbor",
    "headers": {"X-Token": "hidden-in-header"},
    "secret": SECRET,
    "settle": 2.0,
}


async def made(who: Client, **changes: Any) -> str:
    answer = await ask(who, "POST", "/hooks", NEW | changes)
    return str(answer.expect(200).json["hook"]["id"])


async def test_a_hook_is_made_shown_and_removed(alice: Client) -> None:
    answer = (await ask(alice, "POST", "/hooks", {**NEW, "secret": ""})).expect(200).json
    assert answer["secret"].startswith("whsec_")
    hook = answer["hook"]
    assert (hook["scope"], hook["format"], hook["state"]) == ("alice/*", "harbor", "enabled")
    assert hook["kinds"] == ["image.pushed", "tag.moved"]
    shown = (await ask(alice, "GET", f"/hooks/{hook['id']}")).expect(200).json
    assert shown == hook
    assert (await ask(alice, "DELETE", f"/hooks/{hook['id']}")).expect(200).json == hook
    problem(await ask(alice, "GET", f"/hooks/{hook['id']}"), 404, "unknown")


async def test_nothing_secret_comes_back(alice: Client) -> None:
    hook = await made(alice)
    answers = [
        await ask(alice, "GET", "/hooks"),
        await ask(alice, "GET", f"/hooks/{hook}"),
        await ask(alice, "POST", f"/hooks/{hook}/ping"),
        await ask(alice, "GET", f"/hooks/{hook}/deliveries"),
        await ask(alice, "POST", f"/hooks/{hook}/rotate", {"secret": SECRET}),
        await ask(alice, "POST", f"/hooks/{hook}/disable"),
        await ask(alice, "DELETE", f"/hooks/{hook}"),
    ]
    for answer in answers:
        answer.expect(200)
        for secret in (b"hidden-in", SECRET.encode()):
            assert secret not in answer.body
    assert answers[1].json["url"] == "https://hooks.example.com/in?***"
    assert answers[1].json["headers"] == {"X-Token": "***"}


async def test_those_of_one_namespace_are_listed(alice: Client, bob: Client, root: Client) -> None:
    hers, his = await made(alice), await made(bob, scope="bob")
    for who, namespace, hooks in (
        (root, "alice", [hers]),
        (root, "bob", [his]),
        (alice, "alice", [hers]),
        (alice, "bob", []),
        (root, "none", []),
    ):
        answer = (await ask(who, "GET", f"/hooks?namespace={namespace}")).expect(200)
        assert [one["id"] for one in answer.json["hooks"]] == hooks


async def test_a_hook_is_tried_and_what_came_back_is_listed(alice: Client) -> None:
    hook = await made(alice)
    first = (await ask(alice, "POST", f"/hooks/{hook}/ping")).expect(200).json["delivery"]
    again = (await ask(alice, "POST", f"/deliveries/{first}/redeliver")).expect(200).json
    listed = (await ask(alice, "GET", f"/hooks/{hook}/deliveries")).expect(200).json["deliveries"]
    assert [one["id"] for one in listed] == [again["delivery"], first]
    assert len({one["event_id"] for one in listed}) == 1
    assert {one["kind"] for one in listed} == {"ping"}
    for path in ("0", "x", "9" * 30, "-1", "%D9%A3"):
        problem(await ask(alice, "POST", f"/deliveries/{path}/redeliver"), 404, "unknown")


async def test_one_is_switched_off_and_on(alice: Client) -> None:
    hook = await made(alice)
    for verb, state in (("disable", "disabled"), ("enable", "enabled")):
        answer = (await ask(alice, "POST", f"/hooks/{hook}/{verb}")).expect(200)
        assert answer.json["state"] == state
    assert (await ask(alice, "POST", f"/hooks/{hook}/rotate", {})).expect(200).json["secret"]


async def test_others_see_nothing_of_it(alice: Client, bob: Client, root: Client) -> None:
    hook = await made(alice)
    ping = (await ask(alice, "POST", f"/hooks/{hook}/ping")).json["delivery"]
    assert (await ask(bob, "GET", "/hooks")).expect(200).json["hooks"] == []
    for method, path, body in (
        ("GET", f"/hooks/{hook}", None),
        ("DELETE", f"/hooks/{hook}", None),
        ("GET", f"/hooks/{hook}/deliveries", None),
        ("POST", f"/hooks/{hook}/ping", None),
        ("POST", f"/hooks/{hook}/enable", None),
        ("POST", f"/hooks/{hook}/disable", None),
        ("POST", f"/hooks/{hook}/rotate", {}),
        ("POST", f"/deliveries/{ping}/redeliver", None),
    ):
        problem(await ask(bob, method, path, body), 404, "unknown")
    refusals = [
        problem(await ask(bob, "POST", f"/deliveries/{each}/redeliver"), 404, "unknown")["detail"]
        for each in (ping, ping + 1)
    ]
    assert refusals[0] == refusals[1].replace(str(ping + 1), str(ping))  # none is not told apart
    problem(await ask(bob, "POST", "/hooks", NEW), 403, "forbidden")
    problem(await ask(alice, "POST", "/hooks", NEW | {"scope": "*"}), 403, "forbidden")
    assert (await ask(root, "GET", "/hooks")).expect(200).json["hooks"][0]["id"] == hook
    await made(root, scope="*")


async def test_pages_are_by_id(alice: Client) -> None:
    ids = sorted([await made(alice) for _ in range(5)])
    found: list[str] = []
    after = ""
    while True:
        page = (await ask(alice, "GET", f"/hooks?n=2{after}")).expect(200).json
        found += [one["id"] for one in page["hooks"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert found == ids
    problem(await ask(alice, "GET", "/hooks?n=0"), 400, "page")


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"url": "http://127.0.0.1/"}, "address"),
        ({"url": "http://169.254.169.254/latest"}, "address"),
        ({"url": "\x00"}, "field"),
        ({"url": 5}, "field"),
        ({"format": "nothing"}, "field"),
        ({"scope": "../x"}, "name"),
        ({"headers": {"Host": "x"}}, "request"),
        ({"headers": {"X": "a\r\nb: c"}}, "request"),
        ({"kinds": []}, "request"),
        ({"settle": 1e300}, "request"),
        ({"format": "template", "template": "{"}, "request"),
        ({"format": "template", "url": "https://{actor}/"}, "request"),
        ({"unknown": 1}, "field"),
    ],
)
async def test_what_cannot_be_is_refused(alice: Client, changes: Any, name: str) -> None:
    answer = await ask(alice, "POST", "/hooks", NEW | changes)
    assert (answer.status, answer.json["type"]) == (400, TYPE + name), answer.body
    assert SECRET.encode() not in answer.body

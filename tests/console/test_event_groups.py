"""`/api/v1/events/groups`: consumers share the events of a namespace."""

import asyncio
from typing import Any, Final

from tests.api.client import Client
from tests.api.running import Running
from tests.console.asked import ask
from tests.console.test_api import problem
from tests.console.test_events import pushed, token, with_token
from treescale.auth.scopes import TokenScope

GROUP: Final = "/events/groups/ci"


async def given(who: Client, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (
        (await ask(who, "POST", f"{GROUP}/next{query}")).expect(200).json["events"]
    )
    return found


async def test_events_are_given_and_acknowledged(alice: Client) -> None:
    assert await given(alice) == []
    await pushed(alice, "alice/app")
    one, two = await given(alice)
    assert (one["kind"], two["kind"], two["actor"]) == (
        "repository.created",
        "image.pushed",
        "alice",
    )
    assert await given(alice) == []
    numbers = {"sequences": [one["sequence"], two["sequence"]]}
    for left in (2, 0):
        done = await ask(alice, "POST", f"{GROUP}/ack", numbers)
        assert done.expect(200).json == {"acknowledged": left}
    (listed,) = (await ask(alice, "GET", "/events/groups")).expect(200).json["groups"]
    assert (listed["name"], listed["position"]) == ("ci", two["sequence"])
    (await ask(alice, "DELETE", GROUP)).expect(200)
    problem(await ask(alice, "POST", f"{GROUP}/ack", numbers), 404, "unknown")
    assert [each["kind"] for each in await given(alice, "?begin=oldest&n=1")] == ["user.created"]


async def test_who_waits_is_given_it_as_it_happens(alice: Client) -> None:
    await pushed(alice, "alice/app")
    await given(alice)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        waiting = group.create_task(given(alice, "?wait=30"))
        await asyncio.sleep(0.2)
        await pushed(alice, "alice/app", "v2")
    assert [each["reference"] for each in waiting.result()] == ["v2"]


async def test_a_group_is_its_namespaces(
    registry: Running, root: Client, alice: Client, bob: Client, anybody: Client
) -> None:
    await given(alice)
    await pushed(alice, "alice/app")
    assert await given(bob) == [], "bob's group of this name is another"
    problem(await ask(bob, "POST", f"{GROUP}/next?namespace=alice"), 403, "forbidden")
    problem(await ask(root, "POST", f"{GROUP}/next?namespace=alcie"), 404, "unknown")
    assert len(await given(root, "?namespace=alice")) == 2
    problem(await ask(anybody, "POST", f"{GROUP}/next"), 401, "credentials")
    right = with_token(alice, await token(registry, "alice", TokenScope.EVENTS))
    assert [each["kind"] for each in await given(right)] == ["token.created"]
    other = with_token(alice, await token(registry, "alice", TokenScope.API))
    problem(await ask(other, "POST", f"{GROUP}/next"), 403, "forbidden")


async def test_a_maintainer_has_groups_of_what_maintainers_are_shown(
    alice: Client, bob: Client
) -> None:
    """And opens none of an owner's; a reader has none."""
    member, of_alice = "/organisations/alice/members/bob", "?namespace=alice&begin=oldest"
    (await ask(alice, "PUT", member, {"role": "reader"})).expect(200)
    problem(await ask(bob, "POST", f"{GROUP}/next{of_alice}"), 403, "forbidden")
    problem(await ask(bob, "POST", f"{GROUP}/next?namespace=none"), 403, "forbidden")
    (await ask(alice, "PUT", member, {"role": "maintainer"})).expect(200)
    await pushed(alice, "alice/app")
    hers = await given(alice, "?begin=oldest")
    assert {each["kind"] for each in hers} > {"user.created", "member.granted", "image.pushed"}
    problem(await ask(bob, "POST", f"{GROUP}/next{of_alice}"), 403, "forbidden")
    path = "/events/groups/bobs"
    theirs = (await ask(bob, "POST", f"{path}/next{of_alice}")).expect(200).json["events"]
    assert {each["kind"] for each in theirs} == {"repository.created", "image.pushed"}
    ids = {"ids": [each["id"] for each in theirs]}
    done = await ask(bob, "POST", f"{path}/ack?namespace=alice", ids)
    assert done.expect(200).json == {"acknowledged": 2}
    problem(await ask(bob, "POST", f"{path}/ack?namespace=alice", {"ids": ["\0"]}), 400, "field")
    listed = [
        (await ask(who, "GET", "/events/groups?namespace=alice")).expect(200).json["groups"]
        for who in (alice, bob)
    ]
    assert [[(one["name"], one["audience"]) for one in each] for each in listed] == [
        [("bobs", "maintainer"), ("ci", "owner")],
        [("bobs", "maintainer")],
    ]
    problem(await ask(bob, "DELETE", f"{GROUP}?namespace=alice"), 403, "forbidden")
    (await ask(bob, "DELETE", f"{path}?namespace=alice")).expect(200)


async def test_requests_that_do_not_fit(alice: Client) -> None:
    for path, name in (
        (f"{GROUP}/next?n=0", "request"),
        (f"{GROUP}/next?n=101", "request"),
        (f"{GROUP}/next?wait=31", "request"),
        (f"{GROUP}/next?wait=" + "9" * 50, "request"),
        (f"{GROUP}/next?wait=" + "0" * 9 + "99999", "request"),  # its first digits alone are none
        (f"{GROUP}/next?n=" + "1".rjust(5000, "0"), "request"),
        (f"{GROUP}/next?begin=now", "request"),
        ("/events/groups/No/next", "name"),
        ("/events/groups/a%2Fb/next", "name"),
        (f"/events/groups/{'a' * 65}/next", "name"),
    ):
        assert problem(await ask(alice, "POST", path), 400, name), path
    for body in ({"sequences": [0]}, {"sequences": ["1"]}, {"sequences": [1] * 101}, {}):
        problem(await ask(alice, "POST", f"{GROUP}/ack", body), 400, "field")
    problem(await ask(alice, "POST", f"{GROUP}/next", {}), 400, "request")

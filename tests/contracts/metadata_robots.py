"""What `Robots`, `Issuers` and `IdTokenUses` promise, and what namespaces have to do with them."""

import asyncio
import json
from typing import Any

import pytest
from sqlalchemy import delete, func, or_, select, update

from tests.contracts.metadata_events import OF_ROBOTS
from tests.contracts.metadata_organisations import changed_since, generation, team
from tests.contracts.metadata_values import ACTOR, NOW, user
from treescale.errors import (
    IdTokenInvalid,
    IssuerUnknown,
    NamespaceUnknown,
    Refused,
    RobotExists,
    RobotUnknown,
    TokenUnknown,
    TooMany,
)
from treescale.metadata.database import Database
from treescale.metadata.events.recording import Kind
from treescale.metadata.identity.issuers import KEPT_SECONDS, IdTokenUses, Issuers
from treescale.metadata.identity.records import NewRobot, Robot
from treescale.metadata.identity.robots import EXCHANGED_MAX, ROBOTS_MAX, RULES_MAX, Robots
from treescale.metadata.schema import (
    events,
    id_token_uses,
    robot_secrets,
    robots,
    trust_rules,
    users,
)

ISSUER = "https://issuer.example"
CLAIMS = {"repository": "acme/app"}


def of(database: Database) -> tuple[Robots, Issuers, IdTokenUses]:
    connections = database.connections
    return Robots(connections), Issuers(connections), IdTokenUses(connections)


async def add(database: Database, name: str = "ci", namespace: str = "acme", **more: Any) -> Robot:
    """Make a robot whose secret is `s-NAME`, or `s-NAMESPACE-NAME`."""
    terms = {"allow": frozenset({"pull", "push"}), "repository": "*", "expires": None, **more}
    new = NewRobot(f"id-{namespace}-{name}", name, **terms)
    made = Robots(database.connections)
    secret = f"s-{name}" if namespace == "acme" else f"s-{namespace}-{name}"
    await made.add(namespace, new, secret, actor=ACTOR)
    return await made.get(namespace, name)


async def trusted(database: Database, name: str = "ci", rule: str = "r1") -> Robot:
    """Make a robot that an issuer's tokens are taken for."""
    robot = await add(database, name)
    made, issuers, _ = of(database)
    await issuers.add(ISSUER, None, actor=ACTOR)
    await made.trust("acme", name, (rule, ISSUER, CLAIMS), actor=ACTOR)
    return robot


async def kinds(database: Database) -> list[str]:
    """Return what happened to robots and issuers, and see that it says by whom."""
    found = await database.connections.rows(
        select(events.c.kind, events.c.actor)
        .where(or_(events.c.kind.like("robot.%"), events.c.kind.like("issuer.%")))
        .order_by(events.c.at, events.c.event_id)
    )
    assert {(row.actor, row.kind == "robot.exchanged") for row in found} <= {
        (ACTOR, False),
        ("acme+ci", True),
    }
    return [row.kind for row in found]


async def count(database: Database, table: Any) -> int:
    rows = await database.connections.rows(select(func.count()).select_from(table))
    return int(rows[0][0])


class RobotsContract:
    """Subclass with a `database` fixture, and `other`: the same for another process."""

    async def test_what_was_made_is_found_by_its_secret(self, database: Database) -> None:
        await team(database)
        before = await generation(database)
        robot = await add(database, repository="acme/*", expires=NOW)
        found, ends = await Robots(database.connections).find("s-ci")
        assert (found, ends, robot.login) == (robot, None, "acme+ci")
        assert (found.allow, found.repository, found.expires) == (
            frozenset({"pull", "push"}),
            "acme/*",
            NOW,
        )
        assert (found.generation, found.actor, found.last_used) == (before, ACTOR, None)
        assert await changed_since(database, before) == []
        assert (await kinds(database))[-1] == "robot.created"
        with pytest.raises(TokenUnknown):
            await Robots(database.connections).find("ci")
        for namespace, name in (("acme", "c"), ("alice", "ci"), ("nobody", "ci")):
            with pytest.raises(RobotUnknown):
                await Robots(database.connections).get(namespace, name)

    async def test_a_name_is_one_robots_and_says_whose(self, database: Database) -> None:
        await team(database)
        await add(database)
        with pytest.raises(RobotExists, match="robot rotate") as refused:
            await add(database)
        assert refused.value.known == "id-acme-ci"
        await add(database, namespace="alice", name="other")
        with pytest.raises(NamespaceUnknown):
            await add(database, namespace="nobody")
        assert await count(database, robot_secrets) == 2

    async def test_they_are_bounded_and_listed_by_name(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await team(database)
        assert ROBOTS_MAX == 500
        monkeypatch.setattr("treescale.metadata.identity.robots.ROBOTS_MAX", 3)
        for name in ("b", "c", "a"):
            await add(database, name)
        with pytest.raises(Refused, match="remove one first"):
            await add(database, "d")
        page = Robots(database.connections).page
        assert [one.name for one in await page("acme", "", 2)] == ["a", "b"]
        assert [one.name for one in await page("acme", "b", 2)] == ["c"]
        assert await page("alice", "", 2) == []

    async def test_no_more_than_two_secrets_are_good(self, database: Database) -> None:
        await team(database)
        robot = await add(database)
        made = Robots(database.connections)
        before = await generation(database)
        await made.rotate("acme", "ci", "s-2", old_until=NOW, actor=ACTOR)
        assert (await made.find("s-ci"))[1] == NOW
        assert (await made.find("s-2"))[1] is None
        assert await changed_since(database, before) == [], "nothing ended yet"
        await made.rotate("acme", "ci", "s-3", old_until=NOW + 1, actor=ACTOR)
        assert await changed_since(database, before) == ["token:id-acme-ci"]
        assert [(await made.find(one))[1] for one in ("s-2", "s-3")] == [NOW + 1, None]
        with pytest.raises(TokenUnknown):
            await made.find("s-ci")
        await made.rotate("acme", "ci", "s-4", old_until=None, actor=ACTOR)
        assert [one.expires for one in await made.secrets(robot.robot_id)] == [None]
        assert (await made.find("s-4"))[0] == robot
        with pytest.raises(RobotUnknown):
            await made.rotate("acme", "none", "s", old_until=None, actor=ACTOR)
        assert (await kinds(database))[-3:] == ["robot.rotated"] * 3

    async def test_removed_is_removed_and_voids(self, database: Database) -> None:
        await team(database)
        await trusted(database)
        before = await generation(database)
        await Robots(database.connections).remove("acme", "ci", actor=ACTOR)
        assert await changed_since(database, before) == ["token:id-acme-ci"]
        for table in (robots, robot_secrets, trust_rules):
            assert await count(database, table) == 0
        with pytest.raises(RobotUnknown):
            await Robots(database.connections).remove("acme", "ci", actor=ACTOR)
        assert (await kinds(database))[-1] == "robot.removed"

    async def test_its_use_is_noted_once_a_minute(self, database: Database) -> None:
        await team(database)
        robot = await add(database)
        made = Robots(database.connections)
        for now, address in ((NOW, "a"), (NOW + 59, "b"), (NOW + 60, "c")):
            await made.touch(robot.robot_id, now=now, address=address)
        found = await made.get("acme", "ci")
        assert (found.last_used, found.last_address) == (NOW + 60, "c")
        await made.touch("none", now=NOW, address="a")

    async def test_it_outlives_its_maker_and_not_its_namespace(self, database: Database) -> None:
        await team(database, "bob")
        await add(database)
        await database.organisations.grant("acme", "bob", role="owner", repository="*", actor=ACTOR)
        await database.users.remove("alice", actor=ACTOR)
        made = Robots(database.connections)
        assert (await made.find("s-ci"))[0].name == "ci"
        before = await generation(database)
        await database.organisations.remove("acme", actor=ACTOR)
        assert "token:id-acme-ci" in await changed_since(database, before)
        with pytest.raises(TokenUnknown):
            await made.find("s-ci")
        await database.organisations.add("acme", "bob", actor=ACTOR)
        assert await made.page("acme", "", 9) == []

    async def test_with_a_user_go_her_robots(self, database: Database) -> None:
        await team(database, "bob")
        await add(database, namespace="bob")
        before = await generation(database)
        await database.users.remove("bob", actor=ACTOR)
        assert set(await changed_since(database, before)) == {"user:bob", "token:id-bob-ci"}
        await database.users.add(user("bob"), actor=ACTOR)
        assert await count(database, robots) == 0

    async def test_a_server_of_0_1_0_leaves_no_robots_of_a_user(self, database: Database) -> None:
        await team(database, "bob", "carol")
        for name in ("bob", "carol"):
            await add(database, namespace=name)
        await add(database)
        await database.connections.change(delete(users).where(users.c.name == "bob"))
        found = await database.connections.rows(select(robots.c.robot_id).order_by(robots.c.name))
        assert {row.robot_id for row in found} == {"id-acme-ci", "id-carol-ci"}

    async def test_nobodys_robots_do_not_log_in(self, database: Database) -> None:
        """The control of the trigger: were one left, it would be nobody's."""
        await team(database, "bob")
        await add(database, namespace="bob")
        renamed = update(users).where(users.c.name == "bob").values(name="robert")
        await database.connections.change(renamed)
        with pytest.raises(TokenUnknown):
            await Robots(database.connections).find("s-bob-ci")

    async def test_rules_are_kept_bounded_and_removed(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await team(database)
        robot = await trusted(database)
        made = Robots(database.connections)
        assert RULES_MAX == 50
        monkeypatch.setattr("treescale.metadata.identity.robots.RULES_MAX", 1)
        with pytest.raises(Refused, match="patterns"):
            await made.trust("acme", "ci", ("r2", ISSUER, CLAIMS), actor=ACTOR)
        [rule] = await made.rules(robot.robot_id)
        assert (rule.rule_id, rule.issuer, rule.claims) == ("r1", ISSUER, CLAIMS)
        before = await generation(database)
        await made.distrust("acme", "ci", "r1", actor=ACTOR)
        assert await changed_since(database, before) == ["token:id-acme-ci"]
        assert await made.rules(robot.robot_id) == []
        with pytest.raises(RobotUnknown, match="no trust rule"):
            await made.distrust("acme", "ci", "r1", actor=ACTOR)
        assert (await kinds(database))[-2:] == ["robot.trusted", "robot.distrusted"]

    async def test_each_change_is_told(self, database: Database) -> None:
        await team(database)
        robot = await trusted(database)
        made, issuers, uses = of(database)
        await uses.exchange("f", robot, ("s-x", "r1"), expires=NOW, now=NOW, until=NOW + 1)
        await made.rotate("acme", "ci", "s-2", old_until=NOW, actor=ACTOR)
        await made.distrust("acme", "ci", "r1", actor=ACTOR)
        await made.remove("acme", "ci", actor=ACTOR)
        await issuers.remove(ISSUER, actor=ACTOR)
        rows = await database.connections.rows(
            select(events).where(or_(events.c.kind.like("robot.%"), events.c.kind.like("issuer.%")))
        )
        told = {row.kind: (row.namespace, json.loads(row.payload)) for row in rows}
        rule = {"robot": "acme+ci", "rule": "r1"}
        granted = {"allow": ["pull", "push"], "repository": "*", "expires": None}
        assert told == {
            "robot.created": ("acme", {"robot": "acme+ci", **granted}),
            "issuer.added": (None, {"issuer": ISSUER, "keys": "published"}),
            "robot.trusted": ("acme", {**rule, "issuer": ISSUER, "claims": CLAIMS}),
            "robot.exchanged": ("acme", {**rule, "expires": NOW + 1}),
            "robot.rotated": ("acme", {"robot": "acme+ci", "old_until": NOW}),
            "robot.distrusted": ("acme", {**rule, "issuer": ISSUER, "claims": CLAIMS}),
            "robot.removed": ("acme", {"robot": "acme+ci"}),
            "issuer.removed": (None, {"issuer": ISSUER, "robots": 0}),
        }
        assert told.keys() == {kind for kind in Kind if kind.startswith(OF_ROBOTS)}

    async def test_only_allowed_issuers_are_trusted(self, database: Database) -> None:
        await team(database)
        await add(database)
        with pytest.raises(IssuerUnknown, match="issuer add"):
            await Robots(database.connections).trust(
                "acme", "ci", ("r1", ISSUER, CLAIMS), actor=ACTOR
            )


class IssuersContract:
    """Subclass with a `database` fixture, and `other`: the same for another process."""

    async def test_they_are_kept_by_url(self, database: Database) -> None:
        _, issuers, _ = of(database)
        assert await issuers.add("https://b", None, actor=ACTOR)
        assert await issuers.add("https://a", "{}", actor=ACTOR)
        assert [one.issuer for one in await issuers.page("", 9)] == ["https://a", "https://b"]
        assert [one.issuer for one in await issuers.page("https://a", 9)] == ["https://b"]
        assert (await issuers.get("https://a")).jwks == "{}"
        for other in ("https://a/", "https://A", "a"):
            with pytest.raises(IssuerUnknown):
                await issuers.get(other)
        assert await kinds(database) == ["issuer.added"] * 2

    async def test_new_keys_void_what_old_ones_proved(self, database: Database) -> None:
        await team(database)
        await trusted(database)
        _, issuers, _ = of(database)
        before = await generation(database)
        assert not await issuers.add(ISSUER, "{}", actor=ACTOR)
        assert (await issuers.get(ISSUER)).jwks == "{}"
        assert await changed_since(database, before) == ["token:id-acme-ci"]

    async def test_with_one_go_its_rules_and_what_they_gave(self, database: Database) -> None:
        await team(database)
        robot = await trusted(database)
        await add(database, "plain")
        made, issuers, uses = of(database)
        await uses.exchange("f", robot, ("s-made", "r1"), expires=NOW + 9, now=NOW, until=NOW + 99)
        assert (await made.find("s-made"))[1] == NOW + 99
        before = await generation(database)
        assert await issuers.remove(ISSUER, actor=ACTOR) == 1
        assert await changed_since(database, before) == ["token:id-acme-ci"]
        with pytest.raises(TokenUnknown):
            await made.find("s-made")
        assert (await made.find("s-ci"))[0] == robot
        assert await made.rules(robot.robot_id) == []
        with pytest.raises(IssuerUnknown):
            await issuers.remove(ISSUER, actor=ACTOR)
        assert (await kinds(database))[-2:] == ["robot.exchanged", "issuer.removed"]

    async def test_a_token_is_one_robots_until_it_ends(self, database: Database) -> None:
        await team(database)
        one, other = await trusted(database), await add(database, "other")
        _, _, uses = of(database)
        for _ in range(3):
            await uses.bind("f", one, expires=NOW + 9, now=NOW)
        with pytest.raises(IdTokenInvalid, match="another robot"):
            await uses.bind("f", other, expires=NOW + 9, now=NOW)
        with pytest.raises(IdTokenInvalid, match="another robot"):
            await uses.exchange("f", other, ("s", "r1"), expires=NOW, now=NOW, until=NOW)
        await uses.bind("g", other, expires=NOW + 9, now=NOW)
        assert await count(database, id_token_uses) == 2
        await uses.bind("h", one, expires=NOW + 999, now=NOW + 9 + KEPT_SECONDS)
        assert await count(database, id_token_uses) == 1

    async def test_of_two_robots_at_once_one_gets_a_token(
        self, database: Database, other: Database
    ) -> None:
        await team(database)
        robots = [await add(database, name) for name in ("a", "b")]
        both = await asyncio.gather(
            *(
                IdTokenUses(each.connections).bind("f", robot, expires=NOW, now=NOW)
                for each, robot in zip((database, other), robots, strict=True)
            ),
            return_exceptions=True,
        )
        assert [type(one) for one in both if one is not None] == [IdTokenInvalid]

    async def test_a_token_is_exchanged_once(self, database: Database, other: Database) -> None:
        await team(database)
        robot = await trusted(database)
        made, _, uses = of(database)
        await uses.bind("f", robot, expires=NOW + 9, now=NOW)
        both = await asyncio.gather(
            *(
                IdTokenUses(each.connections).exchange(
                    "f", robot, (secret, "r1"), expires=NOW + 9, now=NOW, until=NOW + 99
                )
                for each, secret in ((database, "s-a"), (other, "s-b"))
            ),
            return_exceptions=True,
        )
        assert [type(one) for one in both if one is not None] == [IdTokenInvalid]
        assert sorted(one.rule or "" for one in await made.secrets(robot.robot_id)) == ["", "r1"]
        await uses.bind("f", robot, expires=NOW + 9, now=NOW)
        assert (await kinds(database)).count("robot.exchanged") == 1

    async def test_what_is_gone_takes_no_token(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await team(database)
        robot = await trusted(database)
        made, _, uses = of(database)
        these = {"expires": NOW, "now": NOW, "until": NOW + 60}
        assert EXCHANGED_MAX == 1000
        monkeypatch.setattr("treescale.metadata.identity.robots.EXCHANGED_MAX", 1)
        await uses.exchange("1", robot, ("s-1", "r1"), **these)
        with pytest.raises(TooMany):
            await uses.exchange("2", robot, ("s-2", "r1"), **these)
        await uses.exchange("3", robot, ("s-3", "r1"), **{**these, "now": NOW + 60})
        with pytest.raises(TokenUnknown):
            await made.find("s-1")
        await made.distrust("acme", "ci", "r1", actor=ACTOR)
        with pytest.raises(RobotUnknown, match="not this trust rule"):
            await uses.exchange("4", robot, ("s-4", "r1"), **these)
        await made.remove("acme", "ci", actor=ACTOR)
        with pytest.raises(IdTokenInvalid, match="there no more"):
            await uses.bind("5", robot, expires=NOW, now=NOW)

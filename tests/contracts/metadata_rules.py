"""What `Rules` promises, and what a tag that is immutable is kept from."""

import asyncio

import msgspec
import pytest
from sqlalchemy import select
from sqlalchemy.engine import Connection

from tests.contracts.metadata_values import ACTOR, APP, INDEX_TYPE, NOW, manifest, user
from tests.metadata.waiting import wait_for
from tests.tables import each_row
from treescale.errors import (
    ManifestUnknown,
    NamespaceUnknown,
    NameUnknown,
    PlanChanged,
    Refused,
    RuleExists,
    RuleUnknown,
    TagImmutable,
)
from treescale.metadata import manifest_push
from treescale.metadata.collection.undelete import Undelete
from treescale.metadata.database import Database
from treescale.metadata.records import Manifest
from treescale.metadata.repositories import lock_repository
from treescale.metadata.retention.rules import RULES_MAX, Ruled, Rules
from treescale.metadata.rules.records import (
    THE_CLUSTER,
    Rule,
    RuleKind,
    RuleScope,
    Saying,
    Whose,
)
from treescale.metadata.schema import events, repositories
from treescale.oci.digest import digest_of
from treescale.oci.manifests import Reference, ReferenceKind

WAIT_SECONDS = 0.2
OF_APP = Whose(RuleScope.REPOSITORY, APP)
OF_ALICE = Whose(RuleScope.NAMESPACE, "alice")
VERSIONS = Saying(RuleKind.IMMUTABLE, ("v*",))
LAST = Saying(RuleKind.RETENTION, keep_last=3)
FIRST, SECOND = manifest(b"first"), manifest(b"second")


def index_of(*parts: Manifest) -> tuple[Manifest, list[Reference]]:
    """Return an index of these, and its references."""
    content = b"index of " + b" ".join(part.digest.encode() for part in parts)
    references = [Reference(part.digest, ReferenceKind.MANIFEST, required=True) for part in parts]
    return Manifest(str(digest_of(content)), INDEX_TYPE, content, None, None), references


async def push(database: Database, what: Manifest, *tags: str, name: str = APP) -> None:
    await database.manifests.put(name, what, [], tags, now=NOW, actor=ACTOR)


async def rule(database: Database, whose: Whose, says: Saying = VERSIONS) -> Rule:
    return await Rules(database.connections).add(whose, says, actor=ACTOR)


async def points_at(database: Database, tag: str, name: str = APP) -> str:
    return (await database.manifests.resolve(name, tag, certain=True)).digest


async def kinds(database: Database) -> list[str]:
    rows = await database.connections.rows(select(events.c.kind).where(events.c.kind.like("r%.%")))
    return sorted(row.kind for row in rows if row.kind.startswith(("rule", "retention")))


class ImmutableContract:
    """Subclass with a `database` fixture, and `other`: the same for another process."""

    @each_row("whose", [OF_APP, OF_ALICE, THE_CLUSTER])
    async def test_a_tag_stays_where_it_is(self, database: Database, whose: Whose) -> None:
        name = f"alice/{whose.scope}"
        await push(database, FIRST, "v1", "latest", name=name)
        of = Whose(whose.scope, name) if whose == OF_APP else whose
        if whose == OF_ALICE and "alice" not in await self._users(database):
            await database.users.add(user("alice"), actor=ACTOR)
        made = await rule(database, of)
        with pytest.raises(TagImmutable, match=rf"v1 is immutable, by rule {made.rule_id} of the"):
            await push(database, SECOND, "v1", name=name)
        assert await points_at(database, "v1", name) == FIRST.digest
        await push(database, FIRST, "v1", name=name)  # the same again
        await push(database, SECOND, "latest", "v2", name=name)
        assert await points_at(database, "latest", name) == SECOND.digest
        with pytest.raises(TagImmutable):
            await push(database, FIRST, "a", "v2", name=name)
        with pytest.raises(ManifestUnknown):
            await points_at(database, "a", name)
        await Rules(database.connections).remove(of, made.rule_id, actor=ACTOR)
        await push(database, SECOND, "v1", name=name)
        assert await points_at(database, "v1", name) == SECOND.digest

    async def _users(self, database: Database) -> set[str]:
        return {one.name for one in await database.users.list("", 100)}

    async def test_a_refused_push_leaves_no_event(self, database: Database) -> None:
        await push(database, FIRST, "v1")
        await rule(database, OF_APP)
        before = await database.connections.rows(select(events.c.event_id))
        with pytest.raises(TagImmutable):
            await push(database, SECOND, "v1")
        assert await database.connections.rows(select(events.c.event_id)) == before

    async def test_it_binds_no_other_repository(self, database: Database) -> None:
        await push(database, FIRST, "v1")
        await push(database, FIRST, "v1", name="alicex/app")
        await rule(database, OF_APP)
        await push(database, SECOND, "v1", name="alicex/app")
        assert await points_at(database, "v1", "alicex/app") == SECOND.digest

    async def test_it_binds_what_is_of_no_namespace_yet(self, database: Database) -> None:
        """As a server of 0.1.0 makes repositories."""
        await database.users.add(user("alice"), actor=ACTOR)
        await push(database, FIRST, "v1")
        await rule(database, OF_ALICE)
        await database.connections.change(repositories.update().values(namespace_id=None))
        with pytest.raises(TagImmutable):
            await push(database, SECOND, "v1")

    async def test_of_two_first_pushes_one_wins(self, database: Database, other: Database) -> None:
        await push(database, FIRST, "latest")
        await rule(database, OF_APP)
        pushed = [manifest(f"push {number}".encode()) for number in range(8)]
        done = await asyncio.gather(
            *(
                push((database, other)[number % 2], what, "v1")
                for number, what in enumerate(pushed)
            ),
            return_exceptions=True,
        )
        refused = [each for each in done if isinstance(each, TagImmutable)]
        assert (len(refused), done.count(None)) == (len(pushed) - 1, 1)
        assert await points_at(database, "v1") == pushed[done.index(None)].digest

    async def test_once_it_is_made_nothing_moves(self, database: Database, other: Database) -> None:
        """Whatever was under way has ended when the rule is there."""
        await push(database, FIRST, "v1")
        stop, moved = asyncio.Event(), asyncio.Event()

        async def move() -> None:
            for number in range(10_000):
                if stop.is_set():
                    return
                await push(other, manifest(f"move {number}".encode()), "v1")
                moved.set()

        moving = asyncio.gather(move(), move(), return_exceptions=True)
        await moved.wait()
        await rule(database, OF_APP)
        then = await points_at(database, "v1")
        stop.set()
        assert all(isinstance(each, TagImmutable | None) for each in await moving)
        assert await points_at(database, "v1") == then

    async def test_who_was_at_it_is_waited_for(self, database: Database) -> None:
        """A push that began before the rule ends before the rule is there, or is refused."""
        await push(database, FIRST, "v1")
        loop, inside, go_on = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        ends: list[str] = []

        async def pause() -> None:
            inside.set()
            await go_on.wait()

        def slow(connection: Connection) -> None:
            lock_repository(connection, APP, actor=ACTOR, now=NOW)
            wait_for(connection, loop, pause())
            ends.append("push")

        async def make() -> None:
            await rule(database, OF_ALICE)
            ends.append("rule")

        await database.users.add(user("alice"), actor=ACTOR)
        async with asyncio.TaskGroup() as group:
            group.create_task(database.connections.write(slow))
            await inside.wait()
            group.create_task(make())
            await asyncio.sleep(WAIT_SECONDS)
            assert ends == []
            go_on.set()
        assert ends == ["push", "rule"]

    async def test_control_without_the_look_a_tag_moves(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await push(database, FIRST, "v1")
        await rule(database, OF_APP)
        monkeypatch.setattr(manifest_push, "TAG_UNLESS_IMMUTABLE", manifest_push._TAG)
        await push(database, SECOND, "v1")
        assert await points_at(database, "v1") == SECOND.digest

    async def test_it_is_not_deleted(self, database: Database) -> None:
        part = manifest(b"part")
        index, references = index_of(part)
        await push(database, part)
        await database.manifests.put(APP, index, references, ["v1", "a"], now=NOW, actor=ACTOR)
        made = await rule(database, OF_APP)
        of_rule = rf"treescale repo rules {APP} --remove {made.rule_id}"
        manifests = database.manifests
        with pytest.raises(TagImmutable, match=of_rule):
            await manifests.delete_tag(APP, "v1", actor=ACTOR)
        for each in (index, part):
            with pytest.raises(TagImmutable, match=of_rule):
                await manifests.delete(APP, each.digest, actor=ACTOR)
        with pytest.raises(TagImmutable, match="--force"):
            await database.repositories.delete(APP, actor=ACTOR)
        await manifests.delete_tag(APP, "a", actor=ACTOR)
        assert await points_at(database, "v1") == index.digest
        await database.repositories.delete(APP, actor=ACTOR, force=True)
        await Undelete(database.connections).repository(APP, to=None, actor=ACTOR)
        with pytest.raises(TagImmutable):
            await push(database, SECOND, "v1")

    async def test_a_rule_may_let_it_be_deleted(self, database: Database) -> None:
        await push(database, FIRST, "v1")
        await rule(database, OF_APP, Saying(RuleKind.IMMUTABLE, ("v*",), may_delete=True))
        with pytest.raises(TagImmutable):
            await push(database, SECOND, "v1")
        await database.manifests.delete_tag(APP, "v1", actor=ACTOR)
        await Undelete(database.connections).tag(APP, "v1", actor=ACTOR)
        with pytest.raises(TagImmutable):
            await push(database, SECOND, "v1")
        strict = await rule(database, THE_CLUSTER)
        with pytest.raises(TagImmutable, match=f"rule {strict.rule_id} of the cluster"):
            await database.manifests.delete_tag(APP, "v1", actor=ACTOR)

    async def test_a_restored_tag_never_moves_one_that_is_there(self, database: Database) -> None:
        await push(database, FIRST, "v1")
        await database.manifests.delete_tag(APP, "v1", actor=ACTOR)
        await rule(database, OF_APP)
        await push(database, SECOND, "v1")
        with pytest.raises(Refused):
            await Undelete(database.connections).tag(APP, "v1", actor=ACTOR)
        await Undelete(database.connections).manifest(APP, FIRST.digest, actor=ACTOR)
        assert await points_at(database, "v1") == SECOND.digest

    async def test_signatures_are_added_to_what_is_immutable(self, database: Database) -> None:
        signature = FIRST.digest.replace(":", "-") + ".sig"
        await push(database, FIRST, "v1")
        every = await rule(database, OF_APP, Saying(RuleKind.IMMUTABLE, ("*",)))
        for content in (b"signed once", b"signed twice"):
            await push(database, manifest(content), signature)
        await Rules(database.connections).remove(OF_APP, every.rule_id, actor=ACTOR)
        await rule(database, OF_APP, Saying(RuleKind.IMMUTABLE, ("sha256-*",)))
        with pytest.raises(TagImmutable):
            await push(database, FIRST, signature)

    async def test_whoever_gets_a_free_name_inherits_no_rules(self, database: Database) -> None:
        await database.users.add(user("bob"), actor=ACTOR)
        await database.organisations.add("alice", "bob", actor=ACTOR)
        await rule(database, OF_ALICE)
        await database.organisations.remove("alice", actor=ACTOR)
        await database.organisations.add("alice", "bob", actor=ACTOR)
        await push(database, FIRST, "v1")
        await push(database, SECOND, "v1")
        assert await Rules(database.connections).of(OF_ALICE) == []


class RulesContract:
    """Subclass with a `database` fixture."""

    async def test_they_come_and_go(self, database: Database) -> None:
        await database.users.add(user("alice"), actor=ACTOR)
        await push(database, FIRST, "v1")
        noun = Rules(database.connections)
        made = [await rule(database, whose) for whose in (OF_APP, OF_ALICE, THE_CLUSTER)]
        app = await noun.repository(APP)
        assert await noun.for_repository(app) == made
        assert [await noun.of(each.whose) for each in made] == [[each] for each in made]
        with pytest.raises(RuleExists, match=f"rule {made[0].rule_id} of the repository {APP}"):
            await rule(database, OF_APP)
        with pytest.raises(RuleUnknown):
            await noun.remove(OF_APP, made[1].rule_id, actor=ACTOR)
        assert await noun.remove(OF_ALICE, made[1].rule_id, actor=ACTOR) == made[1]
        assert await noun.for_repository(app) == [made[0], made[2]]
        assert await kinds(database) == ["rule.added"] * 3 + ["rule.removed"]

    async def test_what_they_say_is_told(self, database: Database) -> None:
        await database.users.add(user("alice"), actor=ACTOR)
        await push(database, FIRST, "v1")
        loose = Saying(RuleKind.IMMUTABLE, ("v*", "w"), may_delete=True)
        keeps = Saying(RuleKind.RETENTION, keep_last=3, keep_pulled=3600.0)
        for whose, says in ((OF_APP, loose), (OF_ALICE, keeps), (THE_CLUSTER, keeps)):
            made = await rule(database, whose, says)
            (row,) = await database.connections.rows(
                select(events).where(
                    events.c.kind == "rule.added",
                    events.c.payload.like(f'%"rule":{made.rule_id},%'),
                )
            )
            is_of_app, is_of_cluster = whose == OF_APP, whose == THE_CLUSTER
            assert row.repository == (APP if is_of_app else None)
            assert row.namespace == (None if is_of_cluster else "alice")
            told: dict[str, object] = {"rule": made.rule_id, "kind": says.kind.value}
            if is_of_app:
                told |= {"tags": "v*,w", "may_delete": True}
            else:
                told |= {"tags": "*", "keep_last": 3, "keep_pulled": 3600.0}
            assert msgspec.json.decode(row.payload) == told

    async def test_whose_they_are_must_be_there(self, database: Database) -> None:
        with pytest.raises(NameUnknown, match="the namespace's, alice"):
            await rule(database, OF_APP)
        with pytest.raises(NamespaceUnknown):
            await rule(database, OF_ALICE)

    async def test_they_are_bounded(self, database: Database) -> None:
        for number in range(RULES_MAX):
            await rule(database, THE_CLUSTER, Saying(RuleKind.IMMUTABLE, (f"v{number}",)))
        with pytest.raises(Refused, match="remove one"):
            await rule(database, THE_CLUSTER)

    async def test_one_of_retention_waits_to_be_confirmed(self, database: Database) -> None:
        await push(database, FIRST, "v1")
        noun = Rules(database.connections)
        first = await rule(database, OF_APP, LAST)
        assert not first.is_armed
        assert not await noun.any_armed()
        await noun.arm(OF_APP, [first], actor=ACTOR)
        assert [each.is_armed for each in await noun.of(OF_APP)] == [True]
        assert [each.name for each in await noun.to_look_at(0, 10)] == [APP]
        second = await rule(database, OF_APP, Saying(RuleKind.RETENTION, ("a*",)))
        await rule(database, OF_APP, VERSIONS)
        armed = [each.is_armed for each in await noun.of(OF_APP)]
        assert armed == [False, False, True], "all of retention are to be looked at together"
        with pytest.raises(PlanChanged):
            await noun.arm(OF_APP, [first], actor=ACTOR)
        for _ in "twice":
            await noun.arm(OF_APP, [first, second], actor=ACTOR)
        await noun.remove(OF_APP, second.rule_id, actor=ACTOR)
        assert not await noun.any_armed()
        assert (await kinds(database)).count("rule.confirmed") == 2

    async def test_repositories_are_found_by_whose_rules_they_have(
        self, database: Database
    ) -> None:
        await database.users.add(user("alice"), actor=ACTOR)
        names = ["alice/a", "alice/b", "alicex/c"]
        for name in names:
            await push(database, FIRST, "v1", name=name)
        noun = Rules(database.connections)

        async def found(whose: Whose, expected: list[str]) -> None:
            made = await rule(database, whose, LAST)
            await noun.arm(whose, [made], actor=ACTOR)
            assert [one.name for one in await noun.to_look_at(0, 10)] == expected
            after: Ruled = (await noun.to_look_at(0, 1))[0]
            later = [one.name for one in await noun.to_look_at(after.row_id, 10)]
            assert later == expected[1:]
            assert [one.name for one in await noun.repositories(whose, "", 10)] == expected
            assert await noun.repositories(whose, expected[-1], 10) == []
            await noun.remove(whose, made.rule_id, actor=ACTOR)

        await found(Whose(RuleScope.REPOSITORY, "alice/b"), ["alice/b"])
        await found(OF_ALICE, names[:2])
        await found(THE_CLUSTER, names)
        await rule(database, THE_CLUSTER)
        assert await noun.to_look_at(0, 10) == [], "what is immutable removes nothing"

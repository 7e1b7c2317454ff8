"""Tags that go by rules: what goes with them, what stays, and what comes back."""

from dataclasses import replace

import pytest
from sqlalchemy import insert, select

from tests.contracts.metadata_rules import FIRST, OF_APP, SECOND, index_of, push, rule
from tests.contracts.metadata_values import ACTOR, APP, NOW, blob_reference, manifest, small
from treescale.clock import SystemClock
from treescale.errors import ManifestUnknown, PlanChanged, Refused, RuleUnknown
from treescale.lease_times import COLLECTION_SETTING, FROZEN
from treescale.metadata.collection.undelete import Undelete
from treescale.metadata.database import Database
from treescale.metadata.events.recording import Kind
from treescale.metadata.retention import removal
from treescale.metadata.retention.facts import tag_facts
from treescale.metadata.retention.removal import ACTOR as RULE
from treescale.metadata.retention.removal import Due, Removal
from treescale.metadata.retention.rules import Rules
from treescale.metadata.rules.records import THE_CLUSTER, RuleKind, Saying
from treescale.metadata.schema import events, manifests, pulls
from treescale.registry.rules.planner import Why
from treescale.registry.rules.runner import Retention
from treescale.registry.rules.service import RuleService

DAY = 86_400.0
MONTH = Saying(RuleKind.RETENTION, keep_pushed=30 * DAY)
PULLED = Saying(RuleKind.RETENTION, keep_pulled=30 * DAY)
VERSIONS = Saying(RuleKind.IMMUTABLE, ("v*",))


async def may() -> bool:
    return True


def retention(database: Database) -> Retention:
    return Retention(database, SystemClock(), may)


async def confirmed(database: Database, says: Saying = MONTH) -> None:
    """Make a rule of the repository's, look at what it would do, and confirm that."""
    await rule(database, OF_APP, says)
    service = RuleService(database)
    await service.confirm(OF_APP, (await service.plan(OF_APP)).digest, actor=ACTOR)


async def run(database: Database) -> int:
    return await retention(database).repository(await Rules(database.connections).repository(APP))


async def tags(database: Database) -> list[str]:
    return await database.manifests.list_tags(APP, "", 100)


async def is_there(database: Database, digest: str) -> bool:
    try:
        await database.manifests.get(APP, digest, certain=True)
    except ManifestUnknown:
        return False
    return True


async def note_pull(database: Database, reference: str) -> None:
    """Have something be pulled just now."""
    repository = await Rules(database.connections).repository(APP)
    now = await database.servers.now()
    row = {"repository_id": repository.row_id, "reference": reference, "pulled": now, "count": 1}
    await database.connections.change(insert(pulls).values(row))


async def told(database: Database, kind: Kind) -> list[tuple[str | None, str | None]]:
    """Return tag and digest of the events that retention has recorded, sorted."""
    rows = await database.connections.rows(
        select(events).where(events.c.kind == kind.value, events.c.actor == RULE)
    )
    assert all('"retention"' in row.payload or kind is Kind.RETENTION_RAN for row in rows)
    return sorted((row.reference, row.digest) for row in rows)


class RetentionContract:
    """Subclass with a `database` fixture, and `other`: the same for another process."""

    async def test_old_tags_go_and_come_back(self, database: Database) -> None:
        await push(database, FIRST, "old", "older")
        await database.manifests.put(
            APP, SECOND, [], ["new"], now=await database.servers.now(), actor=ACTOR
        )
        await confirmed(database)
        assert await run(database) == 2
        assert await tags(database) == ["new"]
        assert not await is_there(database, FIRST.digest)
        assert await is_there(database, SECOND.digest)
        assert await told(database, Kind.TAG_DELETED) == [
            ("old", FIRST.digest),
            ("older", FIRST.digest),
        ]
        assert await told(database, Kind.IMAGE_DELETED) == [(None, FIRST.digest)]
        assert await told(database, Kind.RETENTION_RAN) == [(None, None)]
        assert await run(database) == 0
        assert len(await told(database, Kind.RETENTION_RAN)) == 1
        await Undelete(database.connections).tag(APP, "old", actor=ACTOR)
        assert await tags(database) == ["new", "old", "older"], "what went together"
        assert await is_there(database, FIRST.digest)

    async def test_nothing_goes_that_nobody_has_confirmed(self, database: Database) -> None:
        await push(database, FIRST, "old")
        await rule(database, OF_APP, MONTH)
        service = RuleService(database)
        planned = await service.plan(OF_APP)
        assert [(name, each.tag.name) for name, each in planned.removals] == [(APP, "old")]
        assert (planned.removed, planned.kept) == (1, 0)
        await note_pull(database, FIRST.digest)
        seen = (await service.plan(OF_APP)).removals[0][1].tag
        assert seen.pulled is not None, "people are shown it, though no rule goes by it"
        await retention(database).turn()
        assert await run(database) == 0
        await push(database, SECOND, "also")
        with pytest.raises(PlanChanged):
            await service.confirm(OF_APP, planned.digest, actor=ACTOR)
        assert await run(database) == 0
        await service.confirm(OF_APP, (await service.plan(OF_APP)).digest, actor=ACTOR)
        await rule(database, OF_APP, PULLED)
        assert await run(database) == 0, "another rule has come"
        with pytest.raises(Refused, match="nothing to confirm"):
            await service.confirm(THE_CLUSTER, planned.digest, actor=ACTOR)

    async def test_a_pass_takes_all_and_then_waits_an_hour(self, database: Database) -> None:
        await push(database, FIRST, "old")
        await confirmed(database)
        runner = retention(database)
        await runner.turn()
        assert await told(database, Kind.TAG_DELETED) == [("old", FIRST.digest)]
        await push(database, SECOND, "old")
        for _ in range(2):
            await runner.turn()
        assert await tags(database) == ["old"]
        await database.settings.put("retention", '{"begun":1}')
        await runner.turn()
        both = sorted([("old", FIRST.digest), ("old", SECOND.digest)])
        assert await told(database, Kind.TAG_DELETED) == both

    async def test_nothing_goes_while_nothing_may(self, database: Database) -> None:
        await push(database, FIRST, "old")
        await confirmed(database)

        async def may_not() -> bool:
            return False

        await Retention(database, SystemClock(), may_not).turn()
        for setting in (COLLECTION_SETTING, "read_only"):
            await database.settings.put(setting, FROZEN)
            await retention(database).turn()
            assert await run(database) == 0
            await database.settings.remove(setting)
        await database.read_only.set_repository(APP, read_only=True, actor=ACTOR)
        assert await run(database) == 0
        await database.read_only.set_repository(APP, read_only=False, actor=ACTOR)
        assert await run(database) == 1

    async def test_what_moved_since_it_was_decided_stays(
        self, database: Database, other: Database
    ) -> None:
        await push(database, FIRST, "a", "b")
        await confirmed(database)
        noun = Rules(database.connections)
        app = await noun.repository(APP)
        rules = await noun.for_repository(app)
        due = [
            Due(each, (1,)) for each in await tag_facts(database.connections, app, with_pulls=False)
        ]
        await push(other, SECOND, "a")
        await other.manifests.put(APP, FIRST, [], ["b"], now=NOW + 1, actor=ACTOR)
        taking = Removal(database.connections)
        gone = await taking.take(app, due, rules)
        assert gone is not None
        assert gone.tags == ()
        assert await tags(database) == ["a", "b"]
        await rule(other, OF_APP, Saying(RuleKind.RETENTION, ("a",)))
        assert await taking.take(app, due, rules) is None, "other rules"

    async def test_control_without_the_look_what_moved_goes(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await push(database, FIRST, "a")
        await confirmed(database)
        app = await Rules(database.connections).repository(APP)
        (fact,) = await tag_facts(database.connections, app, with_pulls=False)
        await push(database, SECOND, "a")
        moved = Due(replace(fact, digest=SECOND.digest), (1,))
        monkeypatch.setattr(removal, "_may", lambda *_: True)
        gone = await Removal(database.connections).take(app, [moved], [])
        assert gone is not None
        assert gone.tags == (moved,)
        assert await tags(database) == []

    async def test_control_without_held_parts_an_index_would_lose_them(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        part = manifest(b"part")
        index, references = index_of(part)
        await push(database, part, "part")
        now = await database.servers.now()
        await database.manifests.put(APP, index, references, ["new"], now=now, actor=ACTOR)
        await confirmed(database)
        every = select(manifests.c.digest).where(*removal._LIVE)
        monkeypatch.setattr(removal, "FREE_BUT_FOR", every)
        assert await run(database) == 1
        assert not await is_there(database, part.digest)

    async def test_what_is_immutable_stays_and_that_is_told(self, database: Database) -> None:
        await push(database, FIRST, "v1", "a")
        await rule(database, OF_APP, VERSIONS)
        await confirmed(database)
        service = RuleService(database)
        planned = await service.plan(OF_APP)
        assert (planned.removed, planned.immutable) == (1, 1)
        assert await run(database) == 1
        assert await tags(database) == ["v1"]
        assert await is_there(database, FIRST.digest)
        found = (await service.explain(APP, "v1")).verdict
        assert (found.why, len(found.rules), len(found.against)) == (Why.IMMUTABLE, 1, 1)
        with pytest.raises(ManifestUnknown):
            await service.explain(APP, "a")

    async def test_it_expires_where_its_rule_says_so(self, database: Database) -> None:
        await push(database, FIRST, "v1")
        await rule(database, OF_APP, Saying(RuleKind.IMMUTABLE, ("v*",), may_expire=True))
        await confirmed(database)
        assert await run(database) == 1
        assert not await is_there(database, FIRST.digest)

    async def test_an_index_goes_with_its_parts_and_comes_back_with_them(
        self, database: Database
    ) -> None:
        alone, shared, named = (manifest(text) for text in (b"alone", b"shared", b"named"))
        index, references = index_of(alone, shared, named)
        kept, kept_references = index_of(shared)
        for part in (alone, shared):
            await push(database, part)
        await push(database, named, "named")
        now = await database.servers.now()
        await database.manifests.put(APP, index, references, ["old"], now=NOW, actor=ACTOR)
        await database.manifests.put(APP, kept, kept_references, ["new"], now=now, actor=ACTOR)
        await confirmed(database, Saying(RuleKind.RETENTION, ("old",), keep_pushed=DAY))
        assert await run(database) == 1
        found = [await is_there(database, each.digest) for each in (index, alone, shared, named)]
        assert found == [False, False, True, True]
        await Undelete(database.connections).tag(APP, "old", actor=ACTOR)
        assert await is_there(database, index.digest)
        assert await is_there(database, alone.digest)

    @pytest.mark.parametrize("by", ["rule", "somebody"])
    async def test_a_part_that_a_new_index_names_is_back_unless_somebody_has_deleted_it(
        self, database: Database, by: str
    ) -> None:
        """Who pushes it was told a moment before that the part is there."""
        part, beside = manifest(b"part"), manifest(b"beside")
        said = manifest(b"said", subject=part.digest)
        old, old_references = index_of(part)
        new, references = index_of(part, beside)
        references = [replace(each, required=False) for each in references]
        for each in (part, beside, said):
            await push(database, each)
        await database.manifests.put(APP, old, old_references, ["old"], now=NOW, actor=ACTOR)
        if by == "somebody":
            await database.manifests.delete(APP, part.digest, actor=ACTOR)
        await confirmed(database)
        assert await run(database) == 1
        assert not await is_there(database, part.digest)
        await database.manifests.put(APP, new, references, ["new"], now=NOW, actor=ACTOR)
        found = [await is_there(database, each.digest) for each in (part, said, beside, old)]
        assert found == [by == "rule", by == "rule", True, False]
        kind = events.c.kind == Kind.IMAGE_RESTORED.value
        restored = await database.connections.rows(select(events.c.digest).where(kind))
        digests = [part.digest, said.digest] if by == "rule" else []
        assert sorted(row.digest for row in restored) == sorted(digests)

    async def test_a_part_with_an_old_tag_stays_in_its_index(self, database: Database) -> None:
        part = manifest(b"part")
        index, references = index_of(part)
        await push(database, part, "part")
        now = await database.servers.now()
        await database.manifests.put(APP, index, references, ["new"], now=now, actor=ACTOR)
        await confirmed(database)
        assert await run(database) == 1
        assert await tags(database) == ["new"]
        assert await is_there(database, part.digest)

    async def test_a_pull_of_a_part_counts_for_its_index(self, database: Database) -> None:
        used, unused = manifest(b"used"), manifest(b"unused")
        for part, name in ((used, "used"), (unused, "unused")):
            index, references = index_of(part)
            await push(database, part)
            await database.manifests.put(APP, index, references, [name], now=NOW, actor=ACTOR)
        await note_pull(database, used.digest)
        await confirmed(database, PULLED)
        found = (await RuleService(database).explain(APP, "used")).verdict
        assert (found.why, found.is_kept) == (Why.PULLED, True)
        assert await run(database) == 1
        assert await tags(database) == ["used"]

    async def test_what_was_never_pulled_counts_from_its_push(self, database: Database) -> None:
        await push(database, FIRST, "old")
        now = await database.servers.now()
        await database.manifests.put(APP, SECOND, [], ["new"], now=now, actor=ACTOR)
        await confirmed(database, PULLED)
        assert await run(database) == 1
        assert await tags(database) == ["new"]

    async def test_signatures_go_with_their_image_and_come_back(self, database: Database) -> None:
        await database.blobs.commit(APP, small(1), upload_id=None, now=NOW, actor=ACTOR)
        signature = manifest(b"signature")
        referrer = manifest(b"sbom", subject=FIRST.digest)
        name = FIRST.digest.replace(":", "-") + ".sig"
        await push(database, FIRST, "old")
        await database.manifests.put(
            APP, signature, [blob_reference(1)], [name], now=NOW, actor=ACTOR
        )
        await push(database, referrer)
        other = SECOND.digest.replace(":", "-") + ".att"
        await push(database, manifest(b"of another"), other)
        await confirmed(database)
        assert await run(database) == 1
        assert await tags(database) == [other], "whose image is not there, too"
        digests = [each.digest for each in (FIRST, signature, referrer)]
        assert [await is_there(database, each) for each in digests] == [False] * 3
        await Undelete(database.connections).tag(APP, "old", actor=ACTOR)
        assert await tags(database) == sorted([name, "old", other])
        assert [await is_there(database, each) for each in digests] == [True] * 3

    async def test_a_tagged_referrer_loses_its_tag_alone(self, database: Database) -> None:
        now = await database.servers.now()
        await database.manifests.put(APP, FIRST, [], ["new"], now=now, actor=ACTOR)
        referrer = manifest(b"sbom", subject=FIRST.digest)
        await push(database, referrer, "sbom")
        await confirmed(database)
        assert await run(database) == 1
        assert await tags(database) == ["new"]
        assert await is_there(database, referrer.digest)

    async def test_many_go_in_several_transactions(self, database: Database) -> None:
        for number in range(25):
            await push(database, manifest(f"{number}".encode()), f"t{number:02}")
        await confirmed(database, Saying(RuleKind.RETENTION, keep_last=4))
        assert await run(database) == 21
        assert len(await tags(database)) == 4

    async def test_a_plan_of_the_cluster_is_of_all_that_nearer_rules_leave(
        self, database: Database
    ) -> None:
        for name in (APP, "bob/app"):
            await push(database, FIRST, "a", "b", name=name)
        await rule(database, OF_APP, Saying(RuleKind.RETENTION, ("a",)))
        await rule(database, THE_CLUSTER, MONTH)
        planned = await RuleService(database).plan(THE_CLUSTER)
        found = [(name, each.tag.name) for name, each in planned.removals]
        assert found == [(APP, "b"), ("bob/app", "a"), ("bob/app", "b")]

    async def test_a_rule_is_not_removed_unseen_when_others_let_its_tags_go(
        self, database: Database
    ) -> None:
        await push(database, FIRST, "v1", "main")
        keeps = Saying(RuleKind.RETENTION, ("main",))
        made = [await rule(database, OF_APP, says) for says in (VERSIONS, keeps)]
        service = RuleService(database)
        await rule(database, THE_CLUSTER, MONTH)
        await service.confirm(THE_CLUSTER, (await service.plan(THE_CLUSTER)).digest, actor=ACTOR)
        assert await run(database) == 0
        for each, tag, left in ((made[0], "v1", ["main"]), (made[1], "main", [])):
            planned = await service.plan(OF_APP, without=each.rule_id)
            assert [going.tag.name for _, going in planned.removals] == [tag]
            with pytest.raises(PlanChanged, match="would have 1 tags go"):
                await service.remove(OF_APP, each.rule_id, actor=ACTOR)
            assert await run(database) == 0
            confirmed_by = planned.digest
            await service.remove(OF_APP, each.rule_id, confirmed=confirmed_by, actor=ACTOR)
            assert await run(database) == 1
            assert await tags(database) == left
        with pytest.raises(RuleUnknown):
            await service.plan(OF_APP, without=99)

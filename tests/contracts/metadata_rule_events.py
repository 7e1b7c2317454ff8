"""What changes of rules for tags record of themselves, beside their numbers."""

from tests.contracts.metadata_teams import Row, Write
from tests.contracts.metadata_values import ACTOR
from treescale.metadata.database import Database
from treescale.metadata.retention.rules import Rules
from treescale.metadata.rules.records import THE_CLUSTER, RuleKind, RuleScope, Saying, Whose

SETUP = "cli:setup@here"
OF_ALICE = Whose(RuleScope.NAMESPACE, "alice")
VERSIONS = Saying(RuleKind.IMMUTABLE, ("v*",))
LAST = Saying(RuleKind.RETENTION, keep_last=3)
TOLD: Row = {"kind": "immutable", "tags": "v*"}


async def removed(database: Database) -> None:
    rules = Rules(database.connections)
    made = await rules.add(THE_CLUSTER, VERSIONS, actor=SETUP)
    await rules.remove(THE_CLUSTER, made.rule_id, actor=ACTOR)


async def confirmed(database: Database) -> None:
    rules = Rules(database.connections)
    made = await rules.add(OF_ALICE, LAST, actor=SETUP)
    for _ in "twice":
        await rules.arm(OF_ALICE, [made], actor=ACTOR)


OF_RULES: dict[str, tuple[Write, list[Row]]] = {
    "a rule": (
        lambda db: Rules(db.connections).add(OF_ALICE, VERSIONS, actor=ACTOR),
        [{"kind": "rule.added", "namespace": "alice", "payload": TOLD}],
    ),
    "no rule any more": (removed, [{"kind": "rule.removed", "payload": TOLD}]),
    "a rule that removes": (
        confirmed,
        [{"kind": "rule.confirmed", "namespace": "alice", "payload": {}}],
    ),
}

"""What rules say to a move: tags that they have stay, and tags that others would have go there."""

from treescale.errors import NameUnknown, PlanChanged
from treescale.metadata.database import Database
from treescale.metadata.retention.rules import Rules
from treescale.metadata.rules.immutable import check_all_may_go
from treescale.metadata.rules.records import RuleKind, RuleScope, Whose
from treescale.oci.names import namespace_of
from treescale.registry.rules.judging import facts_of, judged


async def check_may_move(database: Database, old: str, new: str) -> None:
    """Raise TagImmutable when any tag of the repository `old` has to stay.

    Raises PlanChanged when rules that were confirmed would have tags go as soon as it is `new`,
    which nobody has seen a plan of.
    """
    rules, namespace = Rules(database.connections), namespace_of(new)
    try:
        repository = await rules.repository(old)
    except NameUnknown:
        return  # as who moves it says
    here = await rules.for_repository(repository)
    there = [rule for rule in here if rule.whose.scope is not RuleScope.NAMESPACE]
    there += await rules.of(Whose(RuleScope.NAMESPACE, namespace))
    if not (here or there):
        return
    facts = await facts_of(database.connections, repository, [*here, *there], for_people=False)
    immutable = [rule for rule in here if rule.says.kind is RuleKind.IMMUTABLE]
    check_all_may_go(immutable, old, [tag.name for tag in facts], "moved")
    now = await database.servers.now()
    pairs = zip(await judged(facts, here, now), await judged(facts, there, now), strict=True)
    going = sum(is_now.is_kept and not then.is_kept for is_now, then in pairs)
    if going:
        raise PlanChanged(
            f"{old} is not moved: rules would have {going:,} of its tags go as soon as it is "
            f"{new}. Look at those of {namespace} (`treescale repo rules {namespace}`) first, or "
            "say --force"
        )

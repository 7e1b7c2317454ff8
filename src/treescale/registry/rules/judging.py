"""What becomes of the tags of a repository: its facts are read, and the planner decides."""

import asyncio
from collections.abc import Sequence
from typing import Final

from treescale.metadata.engine.connections import Connections
from treescale.metadata.retention.facts import tag_facts
from treescale.metadata.retention.rules import Ruled
from treescale.metadata.rules.records import Rule, TagFacts, Whose
from treescale.registry.rules.planner import Verdict, plan

AT_ONCE_MAX: Final = 1000
"""More tags are judged on a thread: requests must not wait for it."""


async def facts_of(
    connections: Connections, repository: Ruled, rules: Sequence[Rule], *, for_people: bool
) -> list[TagFacts]:
    """Return what these rules have to know of each tag; for people also when it was pulled."""
    with_pulls = for_people or any(rule.says.keep_pulled is not None for rule in rules)
    return await tag_facts(connections, repository, with_pulls=with_pulls)


async def judged(
    facts: Sequence[TagFacts], rules: Sequence[Rule], now: float, confirmed: Whose | None = None
) -> list[Verdict]:
    """Return what becomes of each, as `plan` does."""
    if len(facts) <= AT_ONCE_MAX:
        return plan(facts, rules, now, confirmed=confirmed)
    return await asyncio.to_thread(plan, facts, rules, now, confirmed=confirmed)

"""The rules of repositories, of namespaces and of the cluster.

A rule of retention is made unarmed. With it, and with each one that is removed, all rules of
retention of the same repository, namespace or cluster are unarmed, until somebody confirms what
they would remove together. Whoever changes a rule waits for whoever writes by the rules of before.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    BindParameter,
    Select,
    and_,
    bindparam,
    delete,
    exists,
    false,
    insert,
    select,
    true,
)
from sqlalchemy import update as update_rows
from sqlalchemy.engine import Connection

from treescale.errors import (
    NameUnknown,
    PlanChanged,
    Refused,
    RuleExists,
    RuleUnknown,
)
from treescale.metadata.engine.clock import DatabaseNow
from treescale.metadata.engine.connections import Connections, changed
from treescale.metadata.events.recording import Event, Kind, record
from treescale.metadata.layouts import wait_for_writers
from treescale.metadata.namespaces import (
    hold_namespace,
    is_user,
    make_and_hold,
    unknown_namespace,
)
from treescale.metadata.rules.records import SEPARATOR, Rule, RuleKind, RuleScope, Saying, Whose
from treescale.metadata.rules.rows import (
    FOR_REPOSITORY,
    IS_OF_CLUSTER,
    named_rules,
    row_of,
    rules_of,
)
from treescale.metadata.schema import namespaces, repositories, rules
from treescale.oci.names import namespace_of

RULES_MAX: Final = 50
"""Of one repository, of one namespace, and of the cluster."""
_IS_RETENTION: Final = rules.c.kind == RuleKind.RETENTION.value
_THIS: Final[BindParameter[str]] = bindparam("this")
_OF: Final = {
    RuleScope.CLUSTER: IS_OF_CLUSTER,
    RuleScope.NAMESPACE: and_(
        rules.c.namespace_id
        == select(namespaces.c.namespace_id).where(namespaces.c.name == _THIS).scalar_subquery(),
        rules.c.repository_id.is_(None),
    ),
    RuleScope.REPOSITORY: rules.c.repository_id
    == select(repositories.c.repository_id).where(repositories.c.name == _THIS).scalar_subquery(),
}
FIND_OF_CLUSTER: Final = named_rules().where(_OF[RuleScope.CLUSTER])
FIND_OF_NAMESPACE: Final = named_rules().where(_OF[RuleScope.NAMESPACE])
FIND_OF_REPOSITORY: Final = named_rules().where(_OF[RuleScope.REPOSITORY])
_FIND: Final[dict[RuleScope, Select[Any]]] = {
    RuleScope.CLUSTER: FIND_OF_CLUSTER,
    RuleScope.NAMESPACE: FIND_OF_NAMESPACE,
    RuleScope.REPOSITORY: FIND_OF_REPOSITORY,
}
FIND_FOR: Final = named_rules().where(FOR_REPOSITORY)
ROW_OF: Final = select(repositories.c.repository_id).where(
    repositories.c.name == _THIS, repositories.c.deleted.is_(None)
)
_HOLD_REPOSITORY: Final = ROW_OF.with_for_update(read=True, key_share=True)
_ADD: Final = insert(rules).values(created=DatabaseNow()).returning(rules.c.rule_id)
_UNARM: Final = {
    scope: update_rows(rules).where(_IS_RETENTION, is_of).values(armed=false())
    for scope, is_of in _OF.items()
}
_ARM: Final = {
    scope: update_rows(rules)
    .where(_IS_RETENTION, is_of, rules.c.armed == false())
    .values(armed=true())
    for scope, is_of in _OF.items()
}
_REMOVE: Final = delete(rules).where(rules.c.rule_id == bindparam("rule"))
_IS_ARMED: Final = and_(_IS_RETENTION, rules.c.armed == true())
ANY_ARMED: Final = select(exists(select(rules.c.rule_id).where(_IS_ARMED)).label("is_any"))
_BY_NAMESPACE: Final = (
    select(namespaces.c.name)
    .join(rules, rules.c.namespace_id == namespaces.c.namespace_id)
    .where(_IS_ARMED)
)
PAGE_ARMED: Final = (
    select(repositories.c.repository_id, repositories.c.name)
    .where(
        repositories.c.repository_id > bindparam("after"),
        repositories.c.deleted.is_(None),
        exists(select(rules.c.rule_id).where(_IS_ARMED, IS_OF_CLUSTER))
        | exists(
            select(rules.c.rule_id).where(
                _IS_ARMED, rules.c.repository_id == repositories.c.repository_id
            )
        )
        | repositories.c.namespace.in_(_BY_NAMESPACE),
    )
    .order_by(repositories.c.repository_id)
    .limit(bindparam("limit"))
)
PAGE_OF_NAMESPACE: Final = (
    select(repositories.c.repository_id, repositories.c.name)
    .where(repositories.c.namespace == _THIS, repositories.c.name > bindparam("after"))
    .order_by(repositories.c.name)
    .limit(bindparam("limit"))
)
PAGE_OF_ALL: Final = (
    select(repositories.c.repository_id, repositories.c.name)
    .where(repositories.c.deleted.is_(None), repositories.c.name > bindparam("after"))
    .order_by(repositories.c.name)
    .limit(bindparam("limit"))
)


@dataclass(frozen=True, slots=True)
class Ruled:
    """A repository for which rules may speak."""

    row_id: int
    name: str


class Rules:
    """Rules, as rows."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def of(self, whose: Whose) -> list[Rule]:
        """Return the rules of one repository, namespace or cluster; [] also when it is not."""
        rows = await self._connections.rows(_FIND[whose.scope], {"this": whose.name})
        return rules_of(rows)

    async def for_repository(self, repository: Ruled) -> list[Rule]:
        """Return all that speak for a repository: also its namespace's, and the cluster's."""
        rows = await self._connections.rows(FIND_FOR, {"row_id": repository.row_id})
        return rules_of(rows)

    async def repository(self, name: str) -> Ruled:
        """Return it; raises NameUnknown."""
        row = await self._connections.row(ROW_OF, {"this": name})
        if row is None:
            raise _no_repository(name)
        return Ruled(row.repository_id, name)

    async def repositories(self, whose: Whose, after: str, limit: int) -> list[Ruled]:
        """Return a page, by name, of those for which rules of this one speak."""
        if whose.scope is RuleScope.REPOSITORY:
            return [await self.repository(whose.name)] if whose.name > after else []
        is_all = whose.scope is RuleScope.CLUSTER
        page = {"this": whose.name, "after": after, "limit": limit}
        statement = PAGE_OF_ALL if is_all else PAGE_OF_NAMESPACE
        rows = await self._connections.rows(statement, page)
        return [Ruled(row.repository_id, row.name) for row in rows]

    async def any_armed(self) -> bool:
        """Return whether any rule may remove anything."""
        row = await self._connections.row(ANY_ARMED)
        return row is not None and bool(row.is_any)

    async def to_look_at(self, after: int, limit: int) -> list[Ruled]:
        """Return a page, by row, of those for which a rule may remove something."""
        rows = await self._connections.rows(PAGE_ARMED, {"after": after, "limit": limit})
        return [Ruled(row.repository_id, row.name) for row in rows]

    async def add(self, whose: Whose, says: Saying, *, actor: str) -> Rule:
        """Make a rule; raises NameUnknown, NamespaceUnknown, RuleExists, and Refused for too many.

        Of one that is immutable no tag moves any more when this returns.
        """

        def work(connection: Connection) -> Rule:
            wait_for_writers(connection)
            ids = _hold(connection, whose)
            there = _there(connection, whose)
            for rule in there:
                if rule.says == says:
                    raise RuleExists(f"{rule.told} says so already", known=str(rule.rule_id))
            if len(there) >= RULES_MAX:
                raise Refused(f"{whose.told} has {RULES_MAX} rules: remove one")
            is_immutable = says.kind is RuleKind.IMMUTABLE
            if not is_immutable:
                connection.execute(_UNARM[whose.scope], {"this": whose.name})
            row = {**row_of(says), **ids, "armed": is_immutable, "actor": actor}
            rule = Rule(connection.execute(_ADD, row).scalar_one(), whose, says, is_immutable)
            record(connection, _event(Kind.RULE_ADDED, actor, rule))
            return rule

        return await self._connections.write(work)

    async def remove(self, whose: Whose, rule_id: int, *, actor: str) -> Rule:
        """Remove a rule, and return it; raises RuleUnknown."""

        def work(connection: Connection) -> Rule:
            wait_for_writers(connection)
            there = {rule.rule_id: rule for rule in _there(connection, whose)}
            rule = there.get(rule_id)
            if rule is None:
                raise RuleUnknown(f"{whose.told} has no rule {rule_id}")
            connection.execute(_REMOVE, {"rule": rule_id})
            if rule.says.kind is RuleKind.RETENTION:
                connection.execute(_UNARM[whose.scope], {"this": whose.name})
            record(connection, _event(Kind.RULE_REMOVED, actor, rule))
            return rule

        return await self._connections.write(work)

    async def arm(self, whose: Whose, seen: Collection[Rule], *, actor: str) -> None:
        """Have the rules of retention remove what they say, if they are those that were seen.

        Raises PlanChanged when there are others by now. Twice is once.
        """
        wanted = {(rule.rule_id, rule.says) for rule in seen}

        def work(connection: Connection) -> None:
            wait_for_writers(connection)
            there = [
                rule for rule in _there(connection, whose) if rule.says.kind is RuleKind.RETENTION
            ]
            if {(rule.rule_id, rule.says) for rule in there} != wanted:
                raise PlanChanged(f"the rules of {whose.told} were changed meanwhile: look again")
            if changed(connection, _ARM[whose.scope], {"this": whose.name}):
                told = {"rules": [rule.rule_id for rule in there]}
                record(connection, _of(Kind.RULES_CONFIRMED, actor, whose, told))

        await self._connections.write(work)


def _hold(connection: Connection, whose: Whose) -> dict[str, int | None]:
    """Hold whose a rule is to be; return the ids that the row has. Raises when there is none."""
    ids: dict[str, int | None] = {"namespace_id": None, "repository_id": None}
    if whose.scope is RuleScope.REPOSITORY:
        row_id = connection.execute(_HOLD_REPOSITORY, {"this": whose.name}).scalar_one_or_none()
        if row_id is None:
            raise _no_repository(whose.name)
        return {**ids, "repository_id": row_id}
    if whose.scope is RuleScope.NAMESPACE:
        held = hold_namespace(connection, whose.name)
        if held is None or not held.is_organisation:
            if not is_user(connection, whose.name):
                raise unknown_namespace(whose.name)
            held = make_and_hold(connection, whose.name)
        return {**ids, "namespace_id": held.row_id}
    return ids


def _there(connection: Connection, whose: Whose) -> list[Rule]:
    found = connection.execute(_FIND[whose.scope], {"this": whose.name})
    return rules_of(found)


def _event(kind: Kind, actor: str, rule: Rule) -> Event:
    says = rule.says
    told: dict[str, object] = {
        "rule": rule.rule_id,
        "kind": says.kind.value,
        "tags": SEPARATOR.join(says.tags),
    }
    names = ("may_delete", "may_expire", "keep_last", "keep_pushed", "keep_pulled")
    told |= {name: getattr(says, name) for name in names if getattr(says, name)}
    return _of(kind, actor, rule.whose, told)


def _of(kind: Kind, actor: str, whose: Whose, told: Mapping[str, object]) -> Event:
    if whose.scope is RuleScope.REPOSITORY:
        return Event(kind, actor, whose.name, payload=told)
    return Event(kind, actor, namespace=whose.name or None, payload=told)


def _no_repository(name: str) -> NameUnknown:
    return NameUnknown(
        f"no repository {name}: rules for what is not there yet are the namespace's, "
        f"{namespace_of(name)}"
    )

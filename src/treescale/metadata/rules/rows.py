"""Rules as rows: which speak for a repository, and whose each is."""

from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, Select, and_, bindparam, select, union_all

from treescale.metadata.rules.records import (
    SEPARATOR,
    THE_CLUSTER,
    Rule,
    RuleKind,
    RuleScope,
    Saying,
    Whose,
)
from treescale.metadata.schema import namespaces, repositories, rules

IS_OF_CLUSTER: Final = and_(rules.c.repository_id.is_(None), rules.c.namespace_id.is_(None))
# By the name, so that what a server of 0.1.0 has made, without the id, has its namespace's rules.
_NAMESPACE_ID: Final = (
    select(namespaces.c.namespace_id)
    .join(repositories, repositories.c.namespace == namespaces.c.name)
    .where(repositories.c.repository_id == bindparam("row_id"))
    .scalar_subquery()
)
_any = rules.alias("any_rule")
# Each by an index of its own: one OR would have PostgreSQL read the table.
FOR_REPOSITORY: Final[ColumnElement[bool]] = rules.c.rule_id.in_(
    union_all(
        select(_any.c.rule_id).where(_any.c.repository_id == bindparam("row_id")),
        select(_any.c.rule_id).where(_any.c.namespace_id == _NAMESPACE_ID),
        select(_any.c.rule_id).where(_any.c.repository_id.is_(None), _any.c.namespace_id.is_(None)),
    )
)
"""Whether a rule speaks for the repository `row_id`: its own, its namespace's, the cluster's."""


def named_rules() -> Select[Any]:
    """Return the query for rules with the names of whose they are."""
    return select(
        rules,
        namespaces.c.name.label("namespace_name"),
        repositories.c.name.label("repository_name"),
    ).select_from(
        rules.outerjoin(namespaces, namespaces.c.namespace_id == rules.c.namespace_id).outerjoin(
            repositories, repositories.c.repository_id == rules.c.repository_id
        )
    )


def rules_of(rows: Iterable[Row[Any]]) -> list[Rule]:
    """Return the rules of rows of `named_rules`, the oldest first."""
    return sorted(map(_rule_of, rows), key=lambda rule: rule.rule_id)


def _rule_of(row: Row[Any]) -> Rule:
    if row.repository_name is not None:
        whose = Whose(RuleScope.REPOSITORY, row.repository_name)
    elif row.namespace_name is not None:
        whose = Whose(RuleScope.NAMESPACE, row.namespace_name)
    else:
        whose = THE_CLUSTER
    says = Saying(
        RuleKind(row.kind),
        tuple(row.tags.split(SEPARATOR)),
        may_delete=bool(row.may_delete),
        may_expire=bool(row.may_expire),
        keep_last=row.keep_last,
        keep_pushed=row.keep_pushed,
        keep_pulled=row.keep_pulled,
    )
    return Rule(row.rule_id, whose, says, bool(row.armed))


def row_of(says: Saying) -> dict[str, object]:
    """Return what a row has of what a rule says."""
    return {
        "kind": says.kind.value,
        "tags": SEPARATOR.join(says.tags),
        "may_delete": says.may_delete,
        "may_expire": says.may_expire,
        "keep_last": says.keep_last,
        "keep_pushed": says.keep_pushed,
        "keep_pulled": says.keep_pulled,
    }

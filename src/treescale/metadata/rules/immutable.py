"""Immutable tags: what a push, and a deletion, are kept from, in their own transactions.

Of each rule that speaks of a tag all have to permit what is done: a nearer one loosens nothing.
Whoever writes holds the repository's row, and whoever changes rules waits for all that do
(`retention.rules`). So once a rule was made, and that call has returned, no tag moves against it.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy import BindParameter, bindparam, exists, select
from sqlalchemy.engine import Connection

from treescale.errors import TagImmutable
from treescale.metadata.rules.records import DEPTH_MAX, Rule, RuleKind
from treescale.metadata.rules.rows import FOR_REPOSITORY, named_rules, rules_of
from treescale.metadata.schema import manifest_references, manifests, rules, tags

_IS_IMMUTABLE: Final = rules.c.kind == RuleKind.IMMUTABLE.value
ANY_IMMUTABLE: Final = exists(select(rules.c.rule_id).where(_IS_IMMUTABLE, FOR_REPOSITORY))
"""Whether any rule may have a tag of the repository `row_id` be immutable."""
FIND: Final = named_rules().where(_IS_IMMUTABLE, FOR_REPOSITORY)
NAMES_AT_ONCE: Final = 1000
_THESE: Final[BindParameter[str]] = bindparam("these", expanding=True)
TAGS_OF: Final = select(tags.c.name).where(
    tags.c.repository_id == bindparam("row_id"), tags.c.digest.in_(_THESE)
)
_PARENT: Final = manifests.alias("parent")
PARENTS_OF: Final = (
    select(manifest_references.c.manifest)
    .join(
        _PARENT,
        (_PARENT.c.repository_id == manifest_references.c.repository_id)
        & (_PARENT.c.digest == manifest_references.c.manifest),
    )
    .where(
        manifest_references.c.repository_id == bindparam("row_id"),
        manifest_references.c.digest.in_(_THESE),
        _PARENT.c.deleted.is_(None),
        _PARENT.c.subject.is_distinct_from(manifest_references.c.digest),
    )
)
TAGS_AFTER: Final = (
    select(tags.c.name)
    .where(tags.c.repository_id == bindparam("row_id"), tags.c.name > bindparam("after"))
    .order_by(tags.c.name)
    .limit(NAMES_AT_ONCE)
)


def check_may_move(
    connection: Connection, row_id: int, repository: str, tag: str, there: str
) -> None:
    """Raise TagImmutable when a rule has the tag stay at the digest `there`."""
    for rule in _immutable(connection, row_id):
        if rule.says.speaks_of(tag):
            raise TagImmutable(
                f"{repository}:{tag} is immutable, by {rule.told}, and stays {there}: push another "
                "tag"
            )


def check_tag_may_go(connection: Connection, row_id: int, repository: str, tag: str) -> None:
    """Raise TagImmutable when a rule keeps the tag from being deleted."""
    _refuse(f"{repository}:{tag}", repository, _kept(_immutable(connection, row_id), [tag]))


def check_image_may_go(connection: Connection, row_id: int, repository: str, digest: str) -> None:
    """Raise TagImmutable when a tag that is kept points at the image, or at one that it is part of.

    The transaction holds the manifest, so that none comes to point at it.
    """
    kept = _immutable(connection, row_id)
    fresh, seen = {digest}, set[str]()
    for _ in range(DEPTH_MAX if kept else 0):
        if not fresh:
            break
        these = {"row_id": row_id, "these": sorted(fresh)}
        names = sorted(connection.execute(TAGS_OF, these).scalars())
        _refuse(f"{repository}@{digest}", repository, _kept(kept, names))
        seen |= fresh
        fresh = {*connection.execute(PARENTS_OF, these).scalars()} - seen


def check_repository_may_go(
    connection: Connection, row_id: int, repository: str, done: str = "deleted"
) -> None:
    """Raise TagImmutable when any tag of the repository is kept from being deleted.

    `done` is what was to be done to it.
    """
    kept = _immutable(connection, row_id)
    after = ""
    while kept:
        page = {"row_id": row_id, "after": after}
        names = connection.execute(TAGS_AFTER, page).scalars().all()
        _refuse(repository, repository, _kept(kept, names), done)
        if len(names) < NAMES_AT_ONCE:
            break
        after = names[-1]


def check_all_may_go(
    rules: Iterable[Rule], repository: str, tags: Sequence[str], done: str
) -> None:
    """Raise TagImmutable when one of these rules keeps any of these tags, all of a repository."""
    _refuse(repository, repository, _kept(rules, tags), done)


def _immutable(connection: Connection, row_id: int) -> list[Rule]:
    return rules_of(connection.execute(FIND, {"row_id": row_id}))


def _kept(found: Iterable[Rule], names: Sequence[str]) -> tuple[str, Rule] | None:
    """Return the first of the tags that a rule keeps from being deleted, and the rule."""
    kept = [rule for rule in found if not rule.says.may_delete]
    pairs = ((name, rule) for name in names for rule in kept if rule.says.speaks_of(name))
    return next(pairs, None)


def _refuse(
    what: str, repository: str, kept: tuple[str, Rule] | None, done: str = "deleted"
) -> None:
    if kept is None:
        return
    tag, rule = kept
    forced = ", or say --force" if what == repository else ""
    raise TagImmutable(
        f"{what} is not {done}: {repository}:{tag} is immutable, by {rule.told}. Remove the rule "
        f"first, `treescale repo rules {rule.whose.option} --remove {rule.rule_id}`{forced}"
    )

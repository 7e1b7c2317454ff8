"""Scopes: what a token lets its bearer do (Docker token specification, "scope").

On the wire `repository:alice/app:pull,push`; here values. Parsing is strict about size and lenient
about what it does not know: unknown types and actions simply grant nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from treescale.errors import NameInvalid, RequestInvalid
from treescale.oci.names import check_repository

SCOPES_MAX: Final = 64
SCOPE_CHARACTERS_MAX: Final = 4096


class Action(StrEnum):
    """A right of its own each; none implies another."""

    PULL = "pull"
    PUSH = "push"
    DELETE = "delete"


class TokenScope(StrEnum):
    """What an access token opens that is not for the registry: one of these, or several."""

    METRICS = "metrics"
    EVENTS = "events"
    API = "api"


Right = Action | TokenScope
ALL_ACTIONS: Final = frozenset(Action)
CATALOG: Final = "registry:catalog:*"
"""The scope for listing repositories: the one right that is not one on a repository."""
SEARCH: Final = "registry:catalog:search"
"""What `docker search` asks for in its place."""


@dataclass(frozen=True, slots=True)
class Access:
    """Some actions on one repository."""

    repository: str
    actions: frozenset[Action]

    def __str__(self) -> str:
        """Return the scope as the wire spells it, actions in a fixed order."""
        return scope_text(self.repository, self.actions)


def scope_text(repository: str, actions: frozenset[Action]) -> str:
    """Return `repository:NAME:pull,push` with the actions in a fixed order."""
    return f"repository:{repository}:{','.join(a for a in Action if a in actions)}"


def parse_scopes(texts: Sequence[str]) -> list[Access]:
    """Return what the scopes ask for, one Access per repository, in order of first mention.

    Each text may hold several scopes, joined by spaces; one asked for twice counts once. `*` asks
    for every action. Names that no repository can have and types other than `repository` ask for
    nothing. Raises RequestInvalid over the limits.
    """
    words = list(dict.fromkeys(word for text in texts for word in text.split()))
    if len(words) > SCOPES_MAX or any(len(word) > SCOPE_CHARACTERS_MAX for word in words):
        raise RequestInvalid(f"at most {SCOPES_MAX} scopes can be asked for at once")
    wanted: dict[str, frozenset[Action]] = {}
    for word in words:
        kind, _, rest = word.partition(":")
        if kind.partition("(")[0] != "repository" or (one := parse_scope(rest)) is None:
            continue
        wanted[one.repository] = wanted.get(one.repository, frozenset()) | one.actions
    return [Access(name, actions) for name, actions in wanted.items()]


def asks_for_catalog(texts: Sequence[str]) -> bool:
    """Return whether one of the scopes is that of the catalog."""
    return any({CATALOG, SEARCH} & {*text.split()} for text in texts)


def parse_scope(text: str) -> Access | None:
    """Return what `NAME:pull,push` says; None when that is nothing on a repository."""
    name, _, actions = text.rpartition(":")
    try:
        check_repository(name)
    except NameInvalid:
        return None
    return Access(name, parse_actions(actions))


def parse_actions(text: str) -> frozenset[Action]:
    """Return the known actions of a comma-separated list; `*` is all of them."""
    words = text.split(",")
    if "*" in words:
        return ALL_ACTIONS
    return frozenset(action for action in Action if action in words)

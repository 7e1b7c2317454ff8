"""Policy: private by default, a token only narrows, nothing implies more than is said.

The matrix is written a second time here, as a table of what people are told (docs/teams.md): who,
with which role, may do what where. It is compared with the policy in every combination, also of
what an access token is limited to; each cell of the policy's own table, when flipped, is found.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tables import each_row
from treescale.auth import policy
from treescale.auth.policy import ANONYMOUS, Principal, Standing, may, operator, permitted, rights
from treescale.auth.roles import ALLOWS, Allowed, Grant, Permission, Role, Visibility
from treescale.auth.scopes import ALL_ACTIONS, Action, TokenScope
from treescale.oci.names import namespace_of

PULL, PUSH, DELETE = Action.PULL, Action.PUSH, Action.DELETE
PUBLIC = Standing(Visibility.PUBLIC)
PRIVATE = Standing()
NAMES = ["alice", "bob", "alice2", "al", "team_", "team1", "a.b"]
names = st.sampled_from(NAMES)
repositories = st.builds("{}/{}".format, names, st.sampled_from(["app", "web/app", "alice"]))
actions = st.frozensets(st.sampled_from(Action))
globs = st.sampled_from(["*", "alice/*", "alice/app", "*/app", "bob/*", "team_/*", "?lice/*"])
principals = st.builds(Principal, names, st.sampled_from(["", "t1"]), actions, globs)
standings = st.builds(
    Standing,
    st.sampled_from(Visibility),
    st.lists(st.builds(Grant, st.sampled_from(Role), globs), max_size=3).map(tuple),
    st.booleans(),
    st.booleans(),
)


@each_row(
    ("principal", "repository", "standing", "expected"),
    [
        (Principal("alice"), "alice/app", PRIVATE, ALL_ACTIONS),
        (Principal("alice"), "bob/app", PRIVATE, frozenset()),
        (Principal("alice"), "bob/app", PUBLIC, {PULL}),
        (Principal("alice"), "alice2/app", PRIVATE, frozenset()),
        (Principal("team1"), "team_/app", PRIVATE, frozenset()),
        (ANONYMOUS, "alice/app", PRIVATE, frozenset()),
        (ANONYMOUS, "alice/app", PUBLIC, {PULL}),
        (Principal("alice", "t", frozenset({PULL, PUSH})), "alice/app", PRIVATE, {PULL, PUSH}),
        (Principal("alice", "t", ALL_ACTIONS, "alice/app*"), "alice/web", PRIVATE, frozenset()),
        (Principal("alice", "t", ALL_ACTIONS, "alice/app*"), "alice/app2", PRIVATE, ALL_ACTIONS),
        (Principal("alice", "t", frozenset({PUSH}), "alice/app"), "alice/web", PUBLIC, {PULL}),
        (Principal("alice", "t", ALL_ACTIONS, "bob/*"), "bob/app", PRIVATE, frozenset()),
    ],
)
def test_who_may_do_what(
    principal: Principal, repository: str, standing: Standing, expected: frozenset[Action]
) -> None:
    assert permitted(principal, repository, standing) == expected


ROLES = ("none", "reader", "writer", "maintainer", "owner", "administrator")
TABLE: Mapping[str, str] = {
    # action        none rea wri mai own adm
    "pull": "          -   x   x   x   x   -",
    "push": "          -   -   x   x   x   -",
    "delete": "        -   -   -   x   x   -",
    "visibility": "    -   -   -   x   x   x",
    "description": "   -   -   -   x   x   x",
    "hooks": "         -   -   -   x   x   x",
    "rules": "         -   -   -   x   x   x",
    "history": "       -   -   -   x   x   x",
    "robots": "        -   -   -   x   x   x",
    "purge": "         -   -   -   x   x   x",
    "members": "       -   -   -   -   x   x",
    "settings": "      -   -   -   -   x   x",
    "removal": "       -   -   -   -   x   x",
    "audit": "         -   -   -   -   x   x",
}
"""What a role gives in a private repository, and in its namespace; the rules of the visibilities
and of access tokens are in `expected`."""
MATRIX = {word: dict(zip(ROLES, row.split(), strict=True)) for word, row in TABLE.items()}
ASKED: tuple[Allowed, ...] = (*Action, *Permission)
USER, NAME = "bob", "acme/app"
GLOBS = {"acme/app": True, "acme/*": True, "*": True, "acme/web": False, "*/web": False}
"""Globs, and whether they match `NAME`."""
TOKENS = (
    Principal(USER),
    *(
        Principal(USER, "t1", frozenset(allow), glob)
        for allow in ((), (PULL,), (PUSH,), (DELETE,), (PULL, PUSH), (PULL, PUSH, DELETE))
        for glob in GLOBS
    ),
    *(
        Principal(USER, "t1", frozenset(), scopes=frozenset(scopes))
        for scopes in ({TokenScope.API}, {TokenScope.EVENTS}, {*TokenScope})
    ),
    operator("cli:root@here"),
)


def standing_of(role: str, visibility: Visibility, glob: str, *, closed: bool) -> Standing:
    grants = (Grant(Role(role), glob),) if role in [*Role] else ()
    return Standing(visibility, grants, role == "administrator", closed)


def expected(role: str, asked: Allowed, standing: Standing, who: Principal, glob: str) -> bool:
    """Say what people are told, in rules that are not the code's."""
    visibility, closed = standing.visibility.value, standing.closed
    if asked.value == "pull" and visibility == "public" and not closed:
        return True
    if who == ANONYMOUS:
        return False
    if who.is_operator:
        return True
    has_role = role == "administrator" or GLOBS[glob]
    held = has_role and MATRIX[asked.value][role] == "x"
    if asked.value == "pull" and visibility != "private":
        held = True
    if asked.value not in ("pull", "push", "delete"):
        return held and (who.token_id == "" or "api" in who.scopes)
    return held and asked.value in who.allow and GLOBS[who.repository_glob]


def wrong_cells(*, some: bool = False) -> list[tuple[object, ...]]:
    """Return where policy and table differ, in all combinations, or at the first."""
    found: list[tuple[object, ...]] = []
    for role, visibility, glob, closed in product(ROLES, Visibility, GLOBS, (False, True)):
        standing = standing_of(role, visibility, glob, closed=closed)
        whole = (*TOKENS, ANONYMOUS) if role == "none" else TOKENS
        for who in whole:
            given_rights = rights(who, NAME, standing)
            wrong = [
                (who, role, glob, standing, asked)
                for asked in ASKED
                if (asked in given_rights) != expected(role, asked, standing, who, glob)
            ]
            found += wrong
            if found and some:
                return found
    return found


def test_the_matrix_is_what_people_are_told() -> None:
    assert {one.value for one in ASKED} == MATRIX.keys()
    assert wrong_cells() == []


@contextmanager
def flipped(role: Role, asked: Allowed) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(policy, "ALLOWS", {**ALLOWS, role: ALLOWS[role] ^ {asked}})
        yield


@each_row(("role", "asked"), [*product(Role, ASKED)])
def test_whatever_cell_is_flipped_it_is_found(role: Role, asked: Allowed) -> None:
    with flipped(role, asked):
        assert wrong_cells(some=True)


def test_what_is_narrowed_no_more_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "_narrowed", lambda _who, _name, held: held)
    assert wrong_cells(some=True)


@each_row("asked", ASKED)
def test_an_operator_who_may_less_is_found(asked: Allowed) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(policy, "_EVERYTHING", frozenset(ASKED) - {asked})
        assert wrong_cells(some=True)


def test_a_name_makes_nobody_the_operator() -> None:
    assert rights(Principal("cli:root@here"), NAME) == frozenset()
    assert rights(operator("cli:root@here"), "acme") == frozenset(Permission)
    assert operator("cli:root@here").person == operator("cli:root@here")


@each_row("asked", ASKED)
def test_a_user_owns_the_namespace_of_her_name_and_no_other(asked: Allowed) -> None:
    assert asked in rights(Principal("acme"), NAME)
    assert asked not in rights(Principal("acm"), NAME)
    if isinstance(asked, Permission):
        assert may(Principal("acme"), "acme", asked)
        assert not may(Principal("acm"), "acme", asked)


@each_row("permission", [*Permission])
def test_a_role_for_some_repositories_is_none_in_the_namespace(permission: Permission) -> None:
    for glob, is_whole in (("*", True), ("acme/*", False), ("acme", False)):
        standing = Standing(grants=(Grant(Role.OWNER, glob),))
        assert may(Principal(USER), "acme", permission, standing) is is_whole


@given(principals, repositories, standings)
def test_without_role_a_private_repository_is_its_owners_alone(
    principal: Principal, repository: str, standing: Standing
) -> None:
    private = replace(standing, visibility=Visibility.PRIVATE, grants=())
    if namespace_of(repository) != principal.user:
        assert permitted(principal, repository, private) == frozenset()
    assert permitted(ANONYMOUS, repository, private) == frozenset()


@given(principals, repositories, standings)
def test_a_token_only_narrows(principal: Principal, repository: str, standing: Standing) -> None:
    owner = permitted(Principal(principal.user), repository, standing)
    limited = permitted(principal, repository, standing)
    assert limited <= owner
    is_open = standing.visibility is Visibility.PUBLIC and not standing.closed
    anybody = {PULL} if is_open else set()
    assert limited - anybody <= principal.allow
    if limited - anybody:
        assert fnmatchcase(repository, principal.repository_glob)


@given(principals, repositories, standings, st.builds(Grant, st.sampled_from(Role), globs))
def test_one_grant_more_takes_nothing_away(
    principal: Principal, repository: str, standing: Standing, grant: Grant
) -> None:
    more = replace(standing, grants=(*standing.grants, grant))
    assert rights(principal, repository, standing) <= rights(principal, repository, more)


@given(principals, repositories, standings)
def test_delete_needs_delete(principal: Principal, repository: str, standing: Standing) -> None:
    if DELETE in permitted(principal, repository, standing):
        assert DELETE in principal.allow


@given(principals, repositories, standings)
def test_an_administrator_has_no_right_on_content(
    principal: Principal, repository: str, standing: Standing
) -> None:
    plain = replace(standing, is_administrator=False)
    administrator = replace(standing, is_administrator=True)
    assert permitted(principal, repository, plain) == permitted(
        principal, repository, administrator
    )


@given(principals, repositories)
def test_public_opens_pulling_and_no_more(principal: Principal, repository: str) -> None:
    closed = permitted(principal, repository)
    assert permitted(principal, repository, PUBLIC) == closed | {PULL}

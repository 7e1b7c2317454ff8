"""Robots in the policy: their namespace, their actions, their glob, and nothing else."""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from itertools import combinations, product

import pytest

from tests.tables import each_row
from treescale.auth import policy
from treescale.auth.policy import Principal, Standing, operator, rights
from treescale.auth.roles import Grant, Permission, Role, Visibility
from treescale.auth.scopes import ALL_ACTIONS, Action, TokenScope

PULL, PUSH, DELETE = Action.PULL, Action.PUSH, Action.DELETE
NAMES = (
    "acme/app",
    "acme/web",
    "acme",
    "acme2/app",
    "acme+ci/app",
    "ci/app",
    "+ci/app",
    "other/app",
)
GLOBS = ("*", "acme/*", "acme/app", "acme*", "other/*", "*/app")
ALLOWS = [frozenset(some) for count in range(4) for some in combinations(Action, count)]
PERMISSIONS = frozenset(Permission)
SCOPES = (frozenset[TokenScope](), frozenset({TokenScope.API}), frozenset(TokenScope))
STANDINGS = [
    Standing(visibility, grants, is_administrator, closed)
    for visibility, grants, is_administrator, closed in product(
        Visibility, ((), (Grant(Role.OWNER),)), (False, True), (False, True)
    )
]


def robots() -> Iterator[Principal]:
    for allow, glob, scopes in product(ALLOWS, GLOBS, SCOPES):
        yield Principal("acme+ci", "id", allow, glob, scopes=scopes)


def expected(robot: Principal, name: str, standing: Standing, asked: Action) -> bool:
    """Say what people are told, in rules that are not the code's."""
    if "/" not in name:
        return False
    is_public = standing.visibility.value == "public"
    if asked is PULL and is_public and not standing.closed:
        return True
    is_its = name.startswith("acme/") or (
        asked is PULL and (is_public or standing.visibility.value == "internal")
    )
    return is_its and asked in robot.allow and fnmatchcase(name, robot.repository_glob)


def wrong() -> Iterator[tuple[object, ...]]:
    for robot, name, standing in product(robots(), NAMES, STANDINGS):
        given = rights(robot, name, standing)
        for asked in Action:
            if (asked in given) != expected(robot, name, standing, asked):
                yield robot, name, standing, asked
        for one in given & PERMISSIONS:
            yield robot, name, standing, one


def test_the_matrix_is_what_people_are_told() -> None:
    assert [*wrong()] == []


@each_row("change", [lambda *_: ALL_ACTIONS, lambda *_: frozenset(), lambda *_: policy._EVERYTHING])
def test_another_rule_is_found(change: object) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(policy, "_held_by_robot", change)
        assert any(wrong())


def test_a_robot_without_its_id_may_nothing() -> None:
    """Whoever knows a robot by its name alone knows nothing of its limits."""
    nameless = Principal("acme+ci")
    assert rights(nameless, "acme/app") == frozenset()
    assert not any(nameless.opens(scope) for scope in TokenScope)


def test_who_is_a_robot() -> None:
    robot = Principal("acme+ci", "id", frozenset({PULL}), scopes=frozenset({TokenScope.API}))
    assert (robot.is_robot, robot.robot_namespace, robot.home) == (True, "acme", "acme")
    assert robot.person is robot
    assert robot.is_for_registry
    assert (robot.opens(TokenScope.API), robot.opens(TokenScope.EVENTS)) == (True, False)
    assert not Principal("acme+ci", "id", frozenset(), scopes=robot.scopes).is_for_registry
    user = Principal("acme", "t1", frozenset({PULL}))
    assert (user.is_robot, user.home, user.person) == (False, "acme", Principal("acme"))
    assert not operator("cli:a+b@host").is_robot


def test_a_login_by_an_id_token_ends_with_it() -> None:
    robot = Principal("acme+ci", "id", login_ends=100.0)
    assert (robot.is_expired(99.0), robot.is_expired(100.0)) == (False, True)
    assert robot.bound(1000.0) == 1000.0, "what is derived from it may last longer"
    assert robot.subjects == ("user:acme+ci", "member:acme+ci", "token:id")

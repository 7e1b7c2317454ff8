"""Repository names, user names and tags; nothing odd gets through a fullmatch."""

import pytest

from tests.tables import each_row
from treescale.errors import NameInvalid, NamespaceMissing, TagInvalid
from treescale.oci.names import (
    RESERVED,
    check_namespace,
    check_new_namespace,
    check_repository,
    check_robot,
    check_tag,
    namespace_of,
    robot_parts,
)


@each_row("name", ["a/b", "a/b/c", "a.b/c_d", "a__b/c--d", "0/1", "a/" + "b" * 253])
def test_repositories(name: str) -> None:
    assert check_repository(name) == name


@each_row(
    "name",
    [
        "",
        "a",
        "/a",
        "a/",
        "a//b",
        "A/b",
        "a/b\n",
        "a/.b",
        "a/b.",
        "a/..",
        "a/b___c",
        "a/-b",
        "a/b..c",
        "a/\u0663",
        "a/b\0",
        "a/b c",
        "a/" + "b" * 254,
        "a/\u212a",
        "../a",
        "a/b%",
    ],
)
def test_repositories_that_are_none(name: str) -> None:
    with pytest.raises(NameInvalid):
        check_repository(name)


def test_namespaces() -> None:
    assert check_namespace("team_1") == "team_1"
    assert namespace_of("team_1/app/web") == "team_1"
    for name in ("", "a/b", "team_", "a" * 65, "alice\n", "Alice"):
        with pytest.raises(NameInvalid):
            check_namespace(name)


@each_row(
    "name",
    [*sorted(RESERVED), "v1", "v2", "v3", "v10", "-", "api", "peer", "token", "metrics", "healthz"],
)
def test_names_of_pages_are_no_new_users(name: str) -> None:
    with pytest.raises(NameInvalid, match=f"the name {name} is kept"):
        check_new_namespace(name)


@each_row(
    "name", ["admin", "alice", "v", "v2x", "dev2", "api-team", "tokens", "library", "docs", "auth"]
)
def test_names_that_people_have_are_theirs(name: str) -> None:
    assert check_new_namespace(name) == name


def test_who_has_such_a_name_keeps_it_but_a_dash_is_nobodys() -> None:
    for name in ("v2", "api", "metrics"):
        assert check_namespace(name) == name
        assert check_repository(f"{name}/app") == f"{name}/app"
    for name in ("-", "--", "-a", "_"):
        with pytest.raises(NameInvalid):
            check_namespace(name)
        with pytest.raises(NameInvalid):
            check_repository(f"{name}/app")


def test_tags() -> None:
    for tag in ("latest", "v1.0", "_x", "A", "a" * 128, "sha256-" + "a" * 64 + ".sig", "0"):
        assert check_tag(tag) == tag
    for tag in ("", ".a", "-a", "a" * 129, "a\n", "a:b", "a/b", "\u0663", "a b", "a\0"):
        with pytest.raises(TagInvalid):
            check_tag(tag)


@pytest.mark.parametrize("name", ["busybox", "a", "my-app.v2"])
def test_a_name_without_a_user_says_what_to_write(name: str) -> None:
    with pytest.raises(NamespaceMissing, match=f"USERNAME/{name}"):
        check_repository(name)


def test_robots_are_named_as_no_user_is() -> None:
    assert robot_parts("acme+ci") == ("acme", "ci")
    assert check_robot("a.b-c") == "a.b-c"
    for login in (
        "acme",
        "+ci",
        "acme+",
        "acme+ci+x",
        "acme +ci",
        "Acme+ci",
        "acme+ci\n",
        "a/b+ci",
    ):
        assert robot_parts(login) is None
    for name in ("acme+ci", "+", "a+"):
        with pytest.raises(NameInvalid):
            check_namespace(name)
        with pytest.raises(NameInvalid):
            check_robot(name)

"""Scopes: what is asked for, whatever else stands around it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tables import each_row
from treescale.auth.scopes import (
    ALL_ACTIONS,
    CATALOG,
    SCOPES_MAX,
    SEARCH,
    Access,
    Action,
    asks_for_catalog,
    parse_actions,
    parse_scopes,
    scope_text,
)
from treescale.errors import NameInvalid, RequestInvalid
from treescale.oci.names import check_repository

PULL, PUSH, DELETE = Action.PULL, Action.PUSH, Action.DELETE
words = st.text(alphabet="abz09._-/:,*() \t\n%é", max_size=60)


@each_row(
    ("texts", "expected"),
    [
        (["repository:alice/app:pull"], [Access("alice/app", frozenset({PULL}))]),
        (["repository:alice/app:push,pull"], [Access("alice/app", frozenset({PULL, PUSH}))]),
        (["repository:alice/app:*"], [Access("alice/app", ALL_ACTIONS)]),
        (["repository:alice/app:delete"], [Access("alice/app", frozenset({DELETE}))]),
        (["repository(plugin):alice/app:pull"], [Access("alice/app", frozenset({PULL}))]),
        (
            ["repository:alice/app:pull repository:bob/x:pull", "repository:alice/app:push"],
            [Access("alice/app", frozenset({PULL, PUSH})), Access("bob/x", frozenset({PULL}))],
        ),
        (["repository:alice/app:fly"], [Access("alice/app", frozenset())]),
        (["repository:alice/app:"], [Access("alice/app", frozenset())]),
        (["repository:host:5000/app:pull"], []),
        (["repository:alice:pull", "repository:../x:pull", "repository:Alice/x:pull"], []),
        ([CATALOG, "", "  ", "repository", "repository:", "x:y:z"], []),
        ([], []),
    ],
)
def test_what_is_asked_for(texts: list[str], expected: list[Access]) -> None:
    assert parse_scopes(texts) == expected


def test_asking_for_the_catalog() -> None:
    assert asks_for_catalog(["repository:alice/app:pull", f"x {CATALOG}"])
    assert asks_for_catalog([SEARCH])
    for text in ("", "registry:catalog:pull", f"{CATALOG},x", f"x{CATALOG}", "registry:catalog"):
        assert not asks_for_catalog([text])


def test_more_than_the_limit_is_refused() -> None:
    scopes = [f"repository:alice/app{number}:pull" for number in range(SCOPES_MAX)]
    assert len(parse_scopes([" ".join(scopes), *scopes])) == SCOPES_MAX, "twice is once"
    with pytest.raises(RequestInvalid, match="at most 64"):
        parse_scopes([" ".join(scopes), "repository:alice/one:pull"])
    with pytest.raises(RequestInvalid):
        parse_scopes(["repository:alice/app:" + "pull," * 1000])


@given(st.lists(words | words.map("repository:a/b:{}".format), max_size=5))
def test_any_text_gives_a_value_or_a_refusal(texts: list[str]) -> None:
    try:
        found = parse_scopes(texts)
    except RequestInvalid:
        return
    for access in found:
        try:
            check_repository(access.repository)
        except NameInvalid:
            pytest.fail(f"{access.repository} is not a repository")
        assert access.actions <= ALL_ACTIONS


@given(st.sets(st.sampled_from(Action)))
def test_what_is_written_is_read_back(actions: set[Action]) -> None:
    access = Access("alice/app", frozenset(actions))
    assert str(access) == scope_text("alice/app", frozenset(actions))
    assert parse_scopes([str(access)]) == [access]


@given(st.lists(st.sampled_from(["pull", "push", "x", "PULL", " pull", "deleted", ""])))
def test_delete_is_never_implied(words: list[str]) -> None:
    assert DELETE not in parse_actions(",".join(words))

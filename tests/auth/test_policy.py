"""Policy: private by default, a token only narrows, nothing implies delete."""

from fnmatch import fnmatchcase

from hypothesis import given
from hypothesis import strategies as st

from tests.tables import each_row
from treescale.auth.policy import ANONYMOUS, Principal, permitted
from treescale.auth.scopes import ALL_ACTIONS, Action
from treescale.oci.names import namespace_of

PULL, PUSH, DELETE = Action.PULL, Action.PUSH, Action.DELETE
NAMES = ["alice", "bob", "alice2", "al", "team_", "team1", "a.b"]
names = st.sampled_from(NAMES)
repositories = st.builds("{}/{}".format, names, st.sampled_from(["app", "web/app", "alice"]))
actions = st.frozensets(st.sampled_from(Action))
globs = st.sampled_from(["*", "alice/*", "alice/app", "*/app", "bob/*", "team_/*", "?lice/*"])
principals = st.builds(Principal, names, st.sampled_from(["", "t1"]), actions, globs)


@each_row(
    ("principal", "repository", "public", "expected"),
    [
        (Principal("alice"), "alice/app", False, ALL_ACTIONS),
        (Principal("alice"), "bob/app", False, frozenset()),
        (Principal("alice"), "bob/app", True, {PULL}),
        (Principal("alice"), "alice2/app", False, frozenset()),
        (Principal("team1"), "team_/app", False, frozenset()),
        (ANONYMOUS, "alice/app", False, frozenset()),
        (ANONYMOUS, "alice/app", True, {PULL}),
        (Principal("alice", "t", frozenset({PULL, PUSH})), "alice/app", False, {PULL, PUSH}),
        (Principal("alice", "t", ALL_ACTIONS, "alice/app*"), "alice/web", False, frozenset()),
        (Principal("alice", "t", ALL_ACTIONS, "alice/app*"), "alice/app2", False, ALL_ACTIONS),
        (Principal("alice", "t", frozenset({PUSH}), "alice/app"), "alice/web", True, {PULL}),
        (Principal("alice", "t", ALL_ACTIONS, "bob/*"), "bob/app", False, frozenset()),
    ],
)
def test_who_may_do_what(
    principal: Principal, repository: str, *, public: bool, expected: frozenset[Action]
) -> None:
    assert permitted(principal, repository, public=public) == expected


@given(principals, repositories)
def test_a_private_repository_is_its_owners_alone(principal: Principal, repository: str) -> None:
    if namespace_of(repository) != principal.user:
        assert permitted(principal, repository, public=False) == frozenset()
    assert permitted(ANONYMOUS, repository, public=False) == frozenset()


@given(principals, repositories, st.booleans())
def test_a_token_only_narrows(principal: Principal, repository: str, public: bool) -> None:  # noqa: FBT001
    owner = permitted(Principal(principal.user), repository, public=public)
    limited = permitted(principal, repository, public=public)
    assert limited <= owner
    anybody = {PULL} if public else set()
    assert limited - anybody <= principal.allow
    if limited - anybody:
        assert fnmatchcase(repository, principal.repository_glob)


@given(principals, repositories, st.booleans())
def test_delete_needs_delete(principal: Principal, repository: str, public: bool) -> None:  # noqa: FBT001
    if DELETE in permitted(principal, repository, public=public):
        assert DELETE in principal.allow


@given(principals, repositories)
def test_public_opens_pulling_and_no_more(principal: Principal, repository: str) -> None:
    closed = permitted(principal, repository, public=False)
    assert permitted(principal, repository, public=True) == closed | {PULL}

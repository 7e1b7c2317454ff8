"""Accounts: made, changed, removed; access tokens shown once and never again."""

import re
from datetime import MAXYEAR, UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contracts.metadata_values import ACTOR
from tests.fakes_disk import JumpingClock
from tests.registry.conftest import CountingPasswords
from tests.tables import each_row
from treescale.auth.access_tokens import is_access_token
from treescale.auth.scopes import ALL_ACTIONS, Action, Right, TokenScope
from treescale.errors import (
    PasswordInvalid,
    RequestInvalid,
    SettingInvalid,
    TokenUnknown,
    UserExists,
    UserUnknown,
)
from treescale.metadata.database import Database
from treescale.registry import accounts as accounts_module
from treescale.registry.accounts import (
    Accounts,
    TokenTerms,
    check_terms,
    parse_allow,
    parse_duration,
)

PASSWORD = "correct horse"
HUNDRED_YEARS_DAYS = 100 * 366
LATE = datetime(9000, 1, 1, tzinfo=UTC).timestamp()


async def test_the_first_start_makes_an_administrator_once(
    accounts: Accounts, database: Database, passwords: CountingPasswords
) -> None:
    told = await accounts.first_start(None, actor=ACTOR)
    assert told is not None
    found = re.search(r"password ((?:[a-z2-9]{4}-){4}[a-z2-9]{4})\n", told)
    assert found
    admin = await database.users.get("admin")
    assert admin.admin
    assert await passwords.matches(admin.password_hash, found[1])
    assert await accounts.first_start(None, actor=ACTOR) is None
    assert await accounts.first_start("another password", actor=ACTOR) is None
    assert (await database.users.get("admin")).password_hash == admin.password_hash


async def test_two_first_starts_make_two_different_passwords(accounts: Accounts) -> None:
    assert len({accounts._password() for _ in range(20)}) == 20


async def test_the_first_password_may_be_given(
    accounts: Accounts, database: Database, passwords: CountingPasswords
) -> None:
    told = await accounts.first_start(PASSWORD, actor=ACTOR)
    assert told is not None
    assert PASSWORD not in told
    assert await passwords.matches((await database.users.get("admin")).password_hash, PASSWORD)


@each_row("password", ["Harbor12345", "admin123", "short", "password"])
async def test_a_known_default_is_no_first_password(accounts: Accounts, password: str) -> None:
    with pytest.raises(SettingInvalid, match="TREESCALE_ADMIN_PASSWORD"):
        await accounts.first_start(password, actor=ACTOR)


async def test_of_two_processes_one_makes_the_administrator(
    accounts: Accounts, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def none_yet(after: str, limit: int) -> list[object]:
        del after, limit
        return []

    told = await accounts.first_start(None, actor=ACTOR)
    monkeypatch.setattr(database.users, "list", none_yet)
    assert told is not None
    assert await accounts.first_start(None, actor=ACTOR) is None


async def test_a_user_without_the_administrator_is_enough(accounts: Accounts) -> None:
    await accounts.add_user("alice", PASSWORD, actor=ACTOR)
    assert await accounts.first_start(None, actor=ACTOR) is None


async def test_users_are_added_listed_and_removed(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts_module, "PAGE_SIZE", 2)
    for name in ("carol", "alice", "bob"):
        await accounts.add_user(name, PASSWORD, actor=ACTOR)
    assert [user.name async for user in accounts.list_users()] == ["alice", "bob", "carol"]
    with pytest.raises(UserExists):
        await accounts.add_user("alice", PASSWORD, actor=ACTOR)
    await accounts.remove_user("bob", actor=ACTOR)
    assert [user.name async for user in accounts.list_users()] == ["alice", "carol"]
    with pytest.raises(UserUnknown):
        await accounts.remove_user("bob", actor=ACTOR)


async def test_a_password_is_checked_before_it_is_set(accounts: Accounts) -> None:
    await accounts.add_user("alexander", PASSWORD, actor=ACTOR)
    for password in ("short", "alexander", "password"):
        with pytest.raises(PasswordInvalid):
            await accounts.set_password("alexander", password, actor=ACTOR)
    with pytest.raises(UserUnknown):
        await accounts.set_password("nobody", PASSWORD, actor=ACTOR)


async def test_a_token_is_shown_once(
    accounts: Accounts, database: Database, clock: JumpingClock
) -> None:
    await accounts.add_user("alice", PASSWORD, actor=ACTOR)
    text, made = await accounts.create_token(
        "alice", TokenTerms("ci", ALL_ACTIONS, "alice/*", 60.0), actor=ACTOR
    )
    assert is_access_token(text)
    assert made.expires == clock.now() + 60
    assert await accounts.list_tokens("alice") == [made]
    assert text not in repr(await database.access_tokens.list("alice"))
    other, _ = await accounts.create_token("alice", TokenTerms("ci"), actor=ACTOR)
    assert other != text


async def test_tokens_are_revoked_by_id(accounts: Accounts) -> None:
    await accounts.add_user("alice", PASSWORD, actor=ACTOR)
    _, made = await accounts.create_token("alice", TokenTerms("ci"), actor=ACTOR)
    await accounts.revoke_token(made.token_id, actor=ACTOR)
    assert await accounts.list_tokens("alice") == []
    with pytest.raises(TokenUnknown):
        await accounts.revoke_token(made.token_id, actor=ACTOR)
    with pytest.raises(UserUnknown):
        await accounts.list_tokens("nobody")
    with pytest.raises(UserUnknown):
        await accounts.create_token("nobody", TokenTerms("ci"), actor=ACTOR)


async def test_nobody_sees_anothers_tokens(accounts: Accounts) -> None:
    """S24: `_` and `%` are characters of a name, not patterns."""
    for name in ("team_x", "team1x", "teamxx"):
        await accounts.add_user(name, PASSWORD, actor=ACTOR)
    _, made = await accounts.create_token("team1x", TokenTerms("ci"), actor=ACTOR)
    assert await accounts.list_tokens("team_x") == []
    assert await accounts.list_tokens("team1x") == [made]


@each_row(
    ("terms", "reason"),
    [
        (TokenTerms(""), "printable"),
        (TokenTerms("  "), "printable"),
        (TokenTerms("x" * 101), "printable"),
        (TokenTerms("a\nb"), "printable"),
        (TokenTerms("ci", frozenset()), "must allow"),
        (TokenTerms("ci", repository=""), "characters of a name"),
        (TokenTerms("ci", repository="alice/[a-z]"), "characters of a name"),
        (TokenTerms("ci", repository="alice/%"), "characters of a name"),
        (TokenTerms("ci", repository="a" * 256), "characters of a name"),
        (TokenTerms("ci", repository="app*"), "whole names"),
        (TokenTerms("ci", repository="bob/*"), "whole names"),
    ],
)
def test_terms_that_make_no_sense_are_refused(terms: TokenTerms, reason: str) -> None:
    with pytest.raises(RequestInvalid, match=reason):
        check_terms("alice", terms)


@each_row("glob", ["*", "alice/*", "alice/app", "*/app", "alice*", "alic?/x"])
def test_patterns_that_may_match_are_taken(glob: str) -> None:
    check_terms("alice", TokenTerms("ci", repository=glob))


@each_row(
    ("text", "seconds"),
    [("30m", 1800), ("12h", 43_200), ("90d", 7_776_000), ("2w", 1_209_600), ("1y", 31_536_000)],
)
def test_how_long_a_token_lasts(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds
    assert parse_duration("none") is None


@each_row(
    "text", ["", "0d", "-1d", "90", "d", "1.5h", "1e3d", "٣d", "+5d", "1_0d", "5d\n", "999999d"]
)
def test_times_that_are_none(text: str) -> None:
    with pytest.raises(RequestInvalid, match="say 90d"):
        parse_duration(text)


@given(st.integers(1, 99_999), st.sampled_from("mhdwy"))
def test_whatever_ends_has_a_date(count: int, unit: str) -> None:
    text = f"{count}{unit}"
    if count * {"d": 1, "w": 7, "y": 365}.get(unit, 0) > HUNDRED_YEARS_DAYS:
        with pytest.raises(RequestInvalid, match="a hundred years: say none"):
            parse_duration(text)
        return
    seconds = parse_duration(text)
    assert seconds is not None
    assert datetime.fromtimestamp(LATE + seconds, UTC).year < MAXYEAR


@given(st.frozensets(st.sampled_from(Action), min_size=1))
def test_rights_are_read_as_written(actions: frozenset[Action]) -> None:
    assert parse_allow(",".join(actions)) == actions
    assert parse_allow(" , ".join(actions)) == actions


@each_row("text", ["", "pull,", "all", "*", "Pull", "pull;push"])
def test_other_words_are_no_rights(text: str) -> None:
    with pytest.raises(RequestInvalid, match="not a right"):
        parse_allow(text)


@given(st.frozensets(st.sampled_from(TokenScope), min_size=1))
def test_scopes_are_read_as_written_and_go_with_no_right_on_repositories(
    scopes: frozenset[TokenScope],
) -> None:
    allow: frozenset[Right] = parse_allow(",".join(scopes))
    assert allow == scopes
    check_terms("alice", TokenTerms("ci", allow))
    for action in Action:
        with pytest.raises(RequestInvalid, match="make one for each"):
            check_terms("alice", TokenTerms("ci", allow | {action}))
    with pytest.raises(RequestInvalid, match="leave --repository out"):
        check_terms("alice", TokenTerms("ci", allow, "alice/*"))


async def test_metrics_are_for_administrators(accounts: Accounts) -> None:
    await accounts.add_user("alice", PASSWORD, actor=ACTOR)
    await accounts.add_user("root", PASSWORD, actor=ACTOR, admin=True)
    terms = TokenTerms("prometheus", frozenset({TokenScope.METRICS}))
    with pytest.raises(RequestInvalid, match="alice is none"):
        await accounts.create_token("alice", terms, actor=ACTOR)
    _, kept = await accounts.create_token("root", terms, actor=ACTOR)
    assert kept.allow == {"metrics"}

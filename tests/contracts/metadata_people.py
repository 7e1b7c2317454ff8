"""What is promised of people: administrators, sessions, links and sign-on; at once, too."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import select

from tests.contracts.metadata_values import ACTOR, NOW, access_token, user
from treescale.errors import (
    CredentialsInvalid,
    IdentityUnknown,
    LastAdministrator,
    LinkUnknown,
    NamespaceUnknown,
    Refused,
    SessionUnknown,
    SignOnRefused,
    TreeScaleError,
    UserExists,
    UserUnknown,
)
from treescale.metadata.database import Database
from treescale.metadata.identity.links import INVITATION, RESET, GivenRole, Link, Links
from treescale.metadata.identity.providers import Identities, Identity, Provider, Providers
from treescale.metadata.identity.sessions import SESSIONS_MAX, Session, Sessions
from treescale.metadata.identity.sign_on import SignedOn, SignOns
from treescale.metadata.identity.states import AccountStates
from treescale.metadata.identity.terms import GroupRole, Terms
from treescale.metadata.records import NO_PASSWORD
from treescale.metadata.schema import events, links, sessions, sign_on_states

RULE = "rule:sign-on:corp"


def session(number: int = 1, name: str = "alice") -> Session:
    """Return a session that has just begun."""
    return Session(
        session_id=f"s{number}",
        secret_sha256=f"secret {number}",
        user=name,
        provider="",
        address="192.0.2.1",
        agent="a browser",
        created=NOW + number,
        proven=NOW + number,
        seen=NOW + number,
    )


def link(kind: str = INVITATION, name: str = "carol", **changed: object) -> Link:
    """Return a link that is good for an hour."""
    made = Link("l1", kind, name, False, (), ACTOR, NOW, NOW + 3600)  # noqa: FBT003
    return replace(made, **changed)  # type: ignore[arg-type]


def signed_on(subject: str = "1", **changed: object) -> SignedOn:
    """Return what a provider has said of somebody who is to be called dora."""
    identity = Identity(f"i{subject}", "https://corp", subject, "dora", "corp", "", NOW, NOW)
    given = SignedOn(
        identity,
        f"state {subject}",
        NOW + 600,
        allowed=True,
        roles={},
        create=True,
        actor=RULE,
    )
    return replace(given, **changed)  # type: ignore[arg-type]


async def generation(database: Database) -> int:
    return (await database.generations.since(0, 1)).present


class PeopleContract:
    """Subclass with a `database` fixture, and `other`: the same as another process has it."""

    async def test_who_is_suspended_keeps_all_and_may_nothing(self, database: Database) -> None:
        states = AccountStates(database.connections)
        await database.users.add(user(), actor=ACTOR)
        await database.access_tokens.add(access_token(), actor=ACTOR)
        held = Sessions(database.connections)
        await held.add(session(), generation=await generation(database))
        before = await generation(database)
        for _ in range(2):
            await states.suspend("alice", actor=ACTOR)
        found = await database.users.get("alice")
        assert (found.is_suspended, found.password_hash) == (True, user().password_hash)
        token = await database.access_tokens.find(access_token().secret_sha256)
        assert token.user_suspended
        assert [one.user_suspended for one in await database.access_tokens.list("alice")] == [True]
        assert await held.find(session().secret_sha256, now=NOW + 2) is None
        changes = (await database.generations.since(before, 9)).changes
        assert [one.subject for one in changes] == ["user:alice"]
        with pytest.raises(UserUnknown):
            await held.add(session(2), generation=before + 9)
        await states.resume("alice", actor=ACTOR)
        assert not (await database.users.get("alice")).is_suspended
        assert not (await database.access_tokens.find(access_token().secret_sha256)).user_suspended
        with pytest.raises(UserUnknown):
            await states.suspend("nobody", actor=ACTOR)
        rows = await database.connections.rows(select(events.c.kind).order_by(events.c.at))
        assert [row.kind for row in rows][-2:] == ["user.suspended", "user.resumed"]

    async def test_no_rule_resumes_whom_a_person_suspended(self, database: Database) -> None:
        """Also when a rule had done so before: the person's word is the last."""
        states, sign_ons = AccountStates(database.connections), SignOns(database.connections)
        await sign_ons.finish(signed_on(), session(1))
        with pytest.raises(SignOnRefused):
            await sign_ons.finish(signed_on(state="s2", allowed=False), session(2))
        assert (await database.users.get("dora")).is_suspended
        await states.suspend("dora", actor=ACTOR)
        with pytest.raises(SignOnRefused, match="suspended"):
            await sign_ons.finish(signed_on(state="s3"), session(3))
        rows = await database.connections.rows(
            select(events.c.actor).where(events.c.kind == "user.suspended").order_by(events.c.at)
        )
        assert [row.actor for row in rows] == [RULE, ACTOR]
        await states.resume("dora", actor=ACTOR)
        assert await sign_ons.finish(signed_on(state="s4"), session(4)) == "dora"

    async def test_an_invitation_is_to_no_later_organisation(self, database: Database) -> None:
        """Whoever gets a name that became free inherits nobody who was invited before."""
        held = Links(database.connections)
        await database.users.add(user("alice"), actor=ACTOR)
        for name in ("acme", "corp"):
            await database.organisations.add(name, "alice", actor=ACTOR)
        roles = tuple(GivenRole(name, "owner") for name in ("acme", "corp"))
        await held.add(link(roles=roles), "s1")
        await database.organisations.remove("acme", actor=ACTOR)
        await database.organisations.add("acme", "alice", actor=ACTOR)
        await held.accept("s1", "hash", now=NOW)
        for name, there in (("acme", ["alice"]), ("corp", ["alice", "carol"])):
            members = await database.organisations.members(name, ("", ""), 9)
            assert [one.user for one in members] == there

    async def test_an_administrator_with_a_password_is_left(self, database: Database) -> None:
        states = AccountStates(database.connections)
        for name in ("root", "boss"):
            await database.users.add(replace(user(name), admin=True), actor=ACTOR)
        await database.users.add(user("alice"), actor=ACTOR)
        await states.remove_password("boss", actor=ACTOR)
        assert (await database.users.get("boss")).password_hash == NO_PASSWORD
        for taken in (
            states.suspend("root", actor=ACTOR),
            states.set_admin("root", admin=False, actor=ACTOR),
            states.remove_password("root", actor=ACTOR),
            database.users.remove("root", actor=ACTOR),
        ):
            with pytest.raises(LastAdministrator):
                await taken
        found = await database.users.get("root")
        assert (found.admin, found.is_suspended, found.has_password) == (True, False, True)
        await states.set_admin("alice", admin=True, actor=ACTOR)
        await states.suspend("root", actor=ACTOR)
        await states.set_admin("boss", admin=False, actor=ACTOR)
        with pytest.raises(LastAdministrator):
            await states.set_admin("alice", admin=False, actor=ACTOR)

    async def test_two_administrators_do_not_take_each_other_away(
        self, database: Database, other: Database
    ) -> None:
        left = ""
        for number in range(4):
            names = (f"a{number}", f"b{number}")
            for name in names:
                await database.users.add(replace(user(name), admin=True), actor=ACTOR)
            if left:
                states = AccountStates(database.connections)
                await states.set_admin(left, admin=False, actor=ACTOR)
            first = AccountStates(database.connections)
            second = AccountStates(other.connections)
            ended = await asyncio.gather(
                first.suspend(names[0], actor=ACTOR),
                second.set_admin(names[1], admin=False, actor=ACTOR),
                return_exceptions=True,
            )
            assert sorted(type(one).__name__ for one in ended) == ["LastAdministrator", "NoneType"]
            left = names[0] if isinstance(ended[0], LastAdministrator) else names[1]

    async def test_a_new_password_ends_sessions_at_once(
        self, database: Database, other: Database
    ) -> None:
        await database.users.add(user(), actor=ACTOR)
        held = Sessions(database.connections)
        before = await generation(database)
        await held.add(session(1), generation=before)
        calls = [
            held.add(session(2), generation=before),
            other.users.set_password("alice", "new", actor=ACTOR),
            Sessions(other.connections).add(session(3), generation=before),
        ]
        ended = await asyncio.gather(*calls, return_exceptions=True)
        assert all(one is None or isinstance(one, CredentialsInvalid) for one in ended)
        assert await held.list("alice", now=NOW + 9) == []
        with pytest.raises(CredentialsInvalid):
            await held.add(session(4), generation=before)
        with pytest.raises(CredentialsInvalid):
            await database.users.set_password("alice", "x", actor=ACTOR, generation=before)
        await held.add(session(4), generation=await generation(database))

    async def test_sessions_are_one_users_and_few(self, database: Database) -> None:
        await database.users.add(user(), actor=ACTOR)
        held = Sessions(database.connections)
        for number in range(SESSIONS_MAX + 2):
            await held.add(session(number), generation=await generation(database))
        found = await held.list("alice", now=NOW + 99)
        assert [one.session_id for one in found] == [
            f"s{number}" for number in reversed(range(2, SESSIONS_MAX + 2))
        ]
        for user_name, session_id in (("bob", "s5"), ("alice", "none")):
            with pytest.raises(SessionUnknown):
                await held.end(user_name, session_id)
        await held.end("alice", "s5")
        assert await held.end_others("alice", "s6", actor=ACTOR) == SESSIONS_MAX - 2
        one = await held.find("secret 6", now=NOW + 99)
        assert one is not None
        await held.touch(one, now=NOW + 99)
        seen = await held.find("secret 6", now=NOW + 99)
        assert seen is not None
        assert (seen.seen, seen.proven) == (NOW + 99, NOW + 6)
        await held.prune(now=NOW + 99)
        assert len(await held.list("alice", now=NOW + 99)) == 1
        await held.prune(now=NOW + 10**6)
        assert await database.connections.rows(select(sessions)) == []

    async def test_a_link_is_used_once(self, database: Database, other: Database) -> None:
        await database.users.add(user(), actor=ACTOR)
        await database.organisations.add("acme", "alice", actor=ACTOR)
        given = Links(database.connections)
        roles = (GivenRole("acme", "writer"),)
        await given.add(link(roles=roles, admin=True), "secret")
        (kept,) = (await given.find("secret", now=NOW)).roles
        assert (kept.namespace, kept.role, kept.repository) == ("acme", "writer", "*")
        ended = await asyncio.gather(
            given.accept("secret", "one", now=NOW),
            Links(other.connections).accept("secret", "two", now=NOW),
            return_exceptions=True,
        )
        assert sorted(type(one).__name__ for one in ended) == ["Link", "LinkUnknown"]
        found = await database.users.get("carol")
        assert (found.admin, found.password_hash in ("one", "two")) == (True, True)
        held = await database.organisations.holdings("carol")
        assert held["acme"].grants == (("writer", "*"),)
        for late in (
            given.accept("secret", "x", now=NOW),
            given.find("secret", now=NOW),
            given.reset("secret", "x", now=NOW),
        ):
            with pytest.raises(LinkUnknown):
                await late

    async def test_links_end_with_time_kind_and_who_made_them(self, database: Database) -> None:
        await database.users.add(user(), actor=ACTOR)
        await database.users.add(replace(user("root"), admin=True), actor=ACTOR)
        await database.users.add(replace(user("boss"), admin=True), actor=ACTOR)
        given = Links(database.connections)
        await given.add(link(RESET, "alice"), "first")
        await given.add(link(RESET, "alice", link_id="l2"), "second")
        await given.add(link(link_id="l3", actor="boss"), "of boss")
        with pytest.raises(LinkUnknown):
            await given.find("first", now=NOW)
        with pytest.raises(LinkUnknown):
            await given.accept("second", "x", now=NOW)
        await given.find("second", now=NOW)
        with pytest.raises(LinkUnknown):
            await given.find("second", now=NOW + 3600)
        assert len(await given.list(INVITATION, "", 9, now=NOW)) == 1
        await AccountStates(database.connections).set_admin("boss", admin=False, actor=ACTOR)
        assert await given.list(INVITATION, "", 9, now=NOW) == []
        await given.prune(now=NOW + 3600)
        assert await database.connections.rows(select(links)) == []
        for wrong, error in (
            (link(name="alice"), UserExists),
            (link(RESET, "nobody"), UserUnknown),
            (link(roles=(GivenRole("none", "reader"),)), NamespaceUnknown),
        ):
            with pytest.raises(error):
                await given.add(wrong, "wrong")

    async def test_an_identity_makes_one_account(self, database: Database, other: Database) -> None:
        calls = [
            SignOns(each.connections).finish(
                replace(signed_on(), state=f"state {number}"), session(number, "")
            )
            for number, each in enumerate((database, other))
        ]
        ended = await asyncio.gather(*calls, return_exceptions=True)
        # The second finds the first's account, or is told to begin anew.
        assert "dora" in ended
        assert all(one == "dora" or isinstance(one, TreeScaleError) for one in ended), ended
        assert len(await Identities(database.connections).list("dora")) == 1
        again = await SignOns(database.connections).finish(
            replace(signed_on(), state="later"), session(8, "")
        )
        assert again == "dora"

    async def test_a_state_counts_once(self, database: Database) -> None:
        sign_ons = SignOns(database.connections)
        await sign_ons.finish(signed_on(), session(1, ""))
        with pytest.raises(SignOnRefused):
            await sign_ons.finish(signed_on(), session(2, ""))
        await Identities(database.connections).prune(now=NOW + 600)
        assert await database.connections.rows(select(sign_on_states)) == []

    async def test_nobody_gets_what_an_earlier_user_left(self, database: Database) -> None:
        sign_ons = SignOns(database.connections)
        await database.repositories.set_public("dora/app", public=False, now=NOW, actor=ACTOR)
        with pytest.raises(SignOnRefused):
            await sign_ons.finish(signed_on(), session(1, ""))
        await database.users.add(user("dora"), actor=ACTOR)
        with pytest.raises(SignOnRefused):
            await sign_ons.finish(signed_on(state="2"), session(1, ""))
        await sign_ons.finish(signed_on(state="3", link_to="dora"), session(1, ""))
        identities = Identities(database.connections)
        (identity,) = await identities.list("dora")
        with pytest.raises(IdentityUnknown):
            await identities.unlink("alice", identity.identity_id, actor=ACTOR)
        await AccountStates(database.connections).remove_password("dora", actor=ACTOR)
        with pytest.raises(Refused, match="set a password first"):
            await identities.unlink("dora", identity.identity_id, actor=ACTOR)

    async def test_providers_are_kept(self, database: Database) -> None:
        providers = Providers(database.connections)
        terms = Terms(domains=("corp.example",), groups=(GroupRole("dev", "acme", "writer"),))
        corp = Provider("corp", "https://corp", "client", None, terms, NOW)
        with pytest.raises(NamespaceUnknown):
            await providers.add(corp, actor=ACTOR)
        await database.users.add(user(), actor=ACTOR)
        await database.organisations.add("acme", "alice", actor=ACTOR)
        await providers.add(corp, actor=ACTOR)
        with pytest.raises(UserExists):
            await providers.add(replace(corp, issuer="https://other"), actor=ACTOR)
        kept = await providers.get("corp")
        assert [one.namespace_id > 0 for one in kept.terms.groups] == [True]
        assert replace(kept, terms=terms) == corp
        assert await providers.list() == [kept]
        await providers.remove("corp", actor=ACTOR)
        assert await providers.list() == []

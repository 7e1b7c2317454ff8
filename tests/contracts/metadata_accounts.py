"""What `Users`, `AccessTokens`, `SigningKeys` and `Generations` promise."""

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.engine import Connection

from tests.contracts.metadata_values import ACTOR, NOW, access_token, user
from treescale.errors import Refused, TokenUnknown, UserExists, UserUnknown
from treescale.metadata import accounts as sql
from treescale.metadata import keys
from treescale.metadata.database import Database
from treescale.metadata.engine.upserts import insert_or_update
from treescale.metadata.records import AccessToken, Changes, SigningKey
from treescale.metadata.schema import generations, revocations


class UsersContract:
    """Subclass with a `database` fixture."""

    async def test_added_is_found(self, database: Database) -> None:
        with pytest.raises(UserUnknown):
            await database.users.get("alice")
        root = replace(user("root"), admin=True)
        await database.users.add(user(), actor=ACTOR)
        await database.users.add(root, actor=ACTOR)
        assert await database.users.get("alice") == user()
        assert await database.users.get("root") == root

    async def test_a_name_is_taken_once(self, database: Database) -> None:
        await database.users.add(user(), actor=ACTOR)
        with pytest.raises(UserExists):
            await database.users.add(
                replace(user(), password_hash="other", admin=True), actor=ACTOR
            )
        assert await database.users.get("alice") == user()

    async def test_list_pages_by_name(self, database: Database) -> None:
        ordered = sorted(["a", "a-b", "a.b", "a0", "a_b", "ab", "b"], key=str.encode)
        for name in reversed(ordered):
            await database.users.add(user(name), actor=ACTOR)
        assert [each.name for each in await database.users.list("", 4)] == ordered[:4]
        assert [each.name for each in await database.users.list(ordered[3], 4)] == ordered[4:]

    async def test_a_new_password_voids_what_was_issued(self, database: Database) -> None:
        with pytest.raises(UserUnknown):
            await database.users.set_password("alice", "new", actor=ACTOR)
        await database.users.add(user(), actor=ACTOR)
        before = await database.users.get("alice")
        await database.users.set_password("alice", "new", actor=ACTOR)
        after = await database.users.get("alice")
        assert after == replace(user(), password_hash="new")
        assert await changed_since(database, before.generation) == ["user:alice"]
        assert await changed_since(database, after.generation) == []

    async def test_remove_takes_the_tokens_and_voids_what_was_issued(
        self, database: Database
    ) -> None:
        await database.users.add(user(), actor=ACTOR)
        await database.access_tokens.add(access_token(), actor=ACTOR)
        before = await database.users.get("alice")
        await database.users.remove("alice", actor=ACTOR)
        with pytest.raises(UserUnknown):
            await database.users.get("alice")
        with pytest.raises(TokenUnknown):
            await database.access_tokens.find(access_token().secret_sha256)
        removed = await database.generations.since(before.generation, 10)
        assert [one.subject for one in removed.changes] == ["user:alice"]
        with pytest.raises(UserUnknown):
            await database.users.remove("alice", actor=ACTOR)
        assert await database.generations.since(before.generation, 10) == removed

    async def test_a_name_made_again_never_repeats_a_number(self, database: Database) -> None:
        seen = set()
        for _ in range(3):
            await database.users.add(user(), actor=ACTOR)
            made = await database.users.get("alice")
            await database.users.remove("alice", actor=ACTOR)
            found = await database.generations.since(made.generation, 10)
            assert [one.subject for one in found.changes] == ["user:alice"]
            seen |= {made.generation, found.present}
        assert len(seen) == 6


class AccessTokensContract:
    """Subclass with a `database` fixture."""

    async def test_added_is_found_by_its_secret(self, database: Database) -> None:
        await database.users.add(user(), actor=ACTOR)
        nothing = replace(access_token("t2"), allow=frozenset(), expires=NOW + 1, last_used=NOW)
        for token in (access_token(), nothing):
            await database.access_tokens.add(token, actor=ACTOR)
            assert await database.access_tokens.find(token.secret_sha256) == token
        with pytest.raises(TokenUnknown):
            await database.access_tokens.find("other")

    async def test_its_user_must_exist(self, database: Database) -> None:
        with pytest.raises(UserUnknown):
            await database.access_tokens.add(access_token(), actor=ACTOR)

    async def test_list_is_one_users_oldest_first(self, database: Database) -> None:
        for name in ("alice", "bob"):
            await database.users.add(user(name), actor=ACTOR)
        tokens = [access_token(f"t{9 - n}", created=NOW + n) for n in range(3)]
        for token in (*tokens[::-1], access_token("b", name="bob")):
            await database.access_tokens.add(token, actor=ACTOR)
        assert await database.access_tokens.list("alice") == tokens
        assert await database.access_tokens.list("carol") == []

    async def test_one_users_come_in_pages_also_of_one_moment(self, database: Database) -> None:
        await database.users.add(user(), actor=ACTOR)
        tokens = [access_token(f"t{n}", created=NOW + n // 2) for n in range(5)]
        for token in tokens[::-1]:
            await database.access_tokens.add(token, actor=ACTOR)
        seen, after = list[AccessToken](), (0.0, "")
        while page := await database.access_tokens.page("alice", after, 2):
            assert len(page) <= 2
            seen += page
            after = (page[-1].created, page[-1].token_id)
        assert seen == tokens
        assert await database.access_tokens.get("t3") == tokens[3]
        with pytest.raises(TokenUnknown):
            await database.access_tokens.get("none")

    async def test_revoke_removes_and_records(self, database: Database) -> None:
        await database.users.add(user(), actor=ACTOR)
        await database.access_tokens.add(access_token(), actor=ACTOR)
        before = await database.access_tokens.find(access_token().secret_sha256)
        assert [one.generation for one in await database.access_tokens.list("alice")] == [
            before.generation
        ]
        await database.access_tokens.revoke("t1", actor=ACTOR)
        with pytest.raises(TokenUnknown):
            await database.access_tokens.find(access_token().secret_sha256)
        with pytest.raises(TokenUnknown):
            await database.access_tokens.revoke("t1", actor=ACTOR)
        assert await changed_since(database, before.generation) == ["token:t1"]

    async def test_of_several_of_one_label_at_once_one_is_made(self, database: Database) -> None:
        await database.users.add(user(), actor=ACTOR)
        tokens = [access_token(f"t{n}") for n in range(8)]
        add = partial(database.access_tokens.add, actor=ACTOR, label_once=True)
        done = await asyncio.gather(*map(add, tokens), return_exceptions=True)
        refused = [one for one in done if isinstance(one, UserExists)]
        [made] = await database.access_tokens.list("alice")
        assert (done.count(None), {one.known for one in refused}) == (1, {made.token_id})
        assert len(refused) == len(tokens) - 1

    async def test_a_label_is_free_again_when_its_token_has_ended(self, database: Database) -> None:
        await database.users.add(user(), actor=ACTOR)
        add = partial(database.access_tokens.add, actor=ACTOR, label_once=True)
        await add(replace(access_token("t1"), expires=NOW + 1))
        await add(replace(access_token("t2", created=NOW + 1), expires=NOW + 9))
        with pytest.raises(UserExists, match="revoke t2"):
            await add(access_token("t3", created=NOW + 2))
        await database.access_tokens.add(access_token("t3", created=NOW + 2), actor=ACTOR)

    async def test_there_are_so_many_and_those_that_ended_make_room(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(keys, "TOKENS_MAX", 3)
        for name in ("alice", "bob"):
            await database.users.add(user(name), actor=ACTOR)
        add = partial(database.access_tokens.add, actor=ACTOR)
        for n in range(3):
            await add(replace(access_token(f"t{n}"), expires=NOW + 1 + n))
        await add(access_token("b", name="bob"))
        with pytest.raises(Refused, match="3 access tokens: revoke"):
            await add(access_token("t3"))
        await add(access_token("t4", created=NOW + 2))
        assert [one.token_id for one in await database.access_tokens.list("alice")] == ["t2", "t4"]
        assert len(await database.access_tokens.list("bob")) == 1

    async def test_touch_writes_once_a_minute(self, database: Database) -> None:
        async def last_used() -> float | None:
            return (await database.access_tokens.find(access_token().secret_sha256)).last_used

        await database.users.add(user(), actor=ACTOR)
        await database.access_tokens.add(access_token(), actor=ACTOR)
        await database.access_tokens.touch("t1", now=NOW)
        assert await last_used() == NOW
        await database.access_tokens.touch("t1", now=NOW + 59)
        assert await last_used() == NOW
        await database.access_tokens.touch("t1", now=NOW + 60)
        assert await last_used() == NOW + 60
        await database.access_tokens.touch("gone", now=NOW)


class KnownAddressesContract:
    """Subclass with a `database` fixture."""

    async def test_noted_is_known_of_that_account_and_address_alone(
        self, database: Database
    ) -> None:
        for name in ("alice", "bob"):
            await database.users.add(user(name), actor=ACTOR)
        known = database.known_addresses
        assert not await known.knows("alice", "192.0.2.1")
        for _ in range(2):
            await known.note("alice", "192.0.2.1")
        assert await known.knows("alice", "192.0.2.1")
        assert not await known.knows("alice", "192.0.2.2")
        assert not await known.knows("bob", "192.0.2.1")

    async def test_no_account_no_note(self, database: Database) -> None:
        await database.known_addresses.note("nobody", "192.0.2.1")
        assert not await database.known_addresses.knows("nobody", "192.0.2.1")

    async def test_it_goes_with_the_account(self, database: Database) -> None:
        await database.users.add(user(), actor=ACTOR)
        await database.known_addresses.note("alice", "192.0.2.1")
        await database.users.remove("alice", actor=ACTOR)
        await database.users.add(user(), actor=ACTOR)
        assert not await database.known_addresses.knows("alice", "192.0.2.1")

    async def test_those_of_an_account_are_bounded(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sql, "OLDEST_ADDRESSES", sql.OLDEST_ADDRESSES.offset(3))
        for name in ("alice", "bob"):
            await database.users.add(user(name), actor=ACTOR)
        addresses = [f"192.0.2.{number}" for number in range(6)]
        for address in ("bob's", *addresses):
            await database.known_addresses.note("alice" if "." in address else "bob", address)
        found = [one for one in addresses if await database.known_addresses.knows("alice", one)]
        assert len(found) == 3
        assert addresses[-1] in found
        assert await database.known_addresses.knows("bob", "bob's")

    async def test_what_is_old_is_not_known_and_is_pruned(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await database.users.add(user(), actor=ACTOR)
        await database.known_addresses.note("alice", "192.0.2.1")
        assert await database.known_addresses.prune() == 0
        monkeypatch.setattr(sql, "KNOWN_SECONDS", -1.0)  # as if so much time had passed
        assert not await database.known_addresses.knows("alice", "192.0.2.1")
        assert await database.known_addresses.prune() == 1

    async def test_it_is_written_once_a_day(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert isinstance(database, Database)
        await database.users.add(user(), actor=ACTOR)
        writes = 0
        write = database._connections.write

        async def counting(*args: Any, **how: Any) -> Any:
            nonlocal writes
            writes += 1
            return await write(*args, **how)

        monkeypatch.setattr(database._connections, "write", counting)
        for _ in range(3):
            await database.known_addresses.note("alice", "192.0.2.1")
        assert writes == 1
        monkeypatch.setattr(sql, "NOTED_SECONDS_MIN", -1.0)
        await database.known_addresses.note("alice", "192.0.2.1")
        assert writes == 2


class SigningKeysContract:
    """Subclass with a `database` fixture."""

    def key(self, key_id: str, not_before: float = NOW) -> SigningKey:
        return SigningKey(key_id, "-----BEGIN\nPRIVATE", not_before, not_before + 1000)

    async def test_list_is_oldest_first(self, database: Database) -> None:
        assert await database.signing_keys.list() == []
        new, old = self.key("a", NOW + 1), self.key("b")
        await database.signing_keys.add(new)
        await database.signing_keys.add(old)
        assert await database.signing_keys.list() == [old, new]

    async def test_first_is_only_ever_one(self, database: Database) -> None:
        await database.signing_keys.add_first(self.key("a"))
        await database.signing_keys.add_first(self.key("b"))
        assert await database.signing_keys.list() == [self.key("a")]

    async def test_retire_and_remove(self, database: Database) -> None:
        await database.signing_keys.add(self.key("a"))
        await database.signing_keys.add(self.key("b"))
        await database.signing_keys.retire("a", retire_at=NOW + 7)
        assert (await database.signing_keys.list())[0] == replace(self.key("a"), retire_at=NOW + 7)
        await database.signing_keys.remove("a")
        assert await database.signing_keys.list() == [self.key("b")]


class GenerationsContract:
    """Subclass with a `database` fixture."""

    async def test_what_changed_since_in_the_order_of_numbers(self, database: Database) -> None:
        assert await database.generations.since(0, 10) == Changes(0, ())
        for name in ("alice", "bob"):
            await database.users.add(user(name), actor=ACTOR)
        for name in ("alice", "bob", "alice"):
            await database.users.set_password(name, "1", actor=ACTOR)
        found = await database.generations.since(0, 10)
        assert found.present == 3
        assert [(one.subject, one.generation) for one in found.changes] == [
            ("user:bob", 2),
            ("user:alice", 3),
        ]
        assert (await database.generations.since(0, 1)).changes == found.changes[:1]
        assert (await database.generations.since(2, 10)).changes == found.changes[1:]
        assert await database.generations.since(3, 10) == Changes(3, ())

    async def test_times_are_the_database_s(self, database: Database) -> None:
        before = await database.servers.now()
        await database.users.add(user(), actor=ACTOR)
        await database.users.set_password("alice", "1", actor=ACTOR)
        (alice,) = (await database.generations.since(0, 10)).changes
        assert before <= alice.changed <= await database.servers.now()
        assert await revoked(database) == {"user:alice": alice.changed}, "0.1.0 honours it"

    async def test_a_failed_change_has_no_number(self, database: Database) -> None:
        await database.users.add(user(), actor=ACTOR)
        with pytest.raises(UserExists):
            await database.users.add(user(), actor=ACTOR)
        for refused in (
            database.users.set_password("nobody", "1", actor=ACTOR),
            database.users.remove("nobody", actor=ACTOR),
        ):
            with pytest.raises(UserUnknown):
                await refused
        with pytest.raises(TokenUnknown):
            await database.access_tokens.revoke("none", actor=ACTOR)
        assert (await database.generations.since(0, 10)).present == 0

    @pytest.mark.parametrize("by", [-3600.0, 0.0, 3600.0])
    async def test_what_0_1_0_revokes_gets_a_number_once(
        self, database: Database, by: float
    ) -> None:
        """It writes by its own clock, whatever that says."""
        for name in ("alice", "bob", "carol"):
            await database.users.add(user(name), actor=ACTOR)
        await database.users.set_password("bob", "1", actor=ACTOR)
        before = (await database.users.get("alice")).generation
        at = await database.servers.now() + by
        await revoke_as_0_1_0(database, "user:alice", at)
        await revoke_as_0_1_0(database, "token:t1", at)
        assert await database.generations.adopt() == 2
        found = (await database.generations.since(before, 10)).changes
        assert {one.subject: one.changed for one in found} == {"user:alice": at, "token:t1": at}
        assert len({one.generation for one in found}) == 2
        assert await database.generations.adopt() == 0
        await database.users.set_password("alice", "2", actor=ACTOR)
        assert (await revoked(database))["user:alice"] >= at, "0.1.0 may go by that time already"
        assert await database.generations.adopt() == 0
        await revoke_as_0_1_0(database, "user:alice", at + 7200)
        assert await database.generations.adopt() == 1

    async def test_what_a_server_before_the_column_numbered_keeps_its_number(
        self, database: Database
    ) -> None:
        """Who has logged in since would be ended by another."""
        for name in ("alice", "bob"):
            await database.users.add(user(name), actor=ACTOR)
            await database.users.set_password(name, "1", actor=ACTOR)
        await database._connections.change(update(revocations).values(noted=None))
        before = await database.generations.since(0, 10)
        await revoke_as_0_1_0(database, "user:bob", await database.servers.now() + 60)
        assert await database.generations.adopt() == 1
        after = await database.generations.since(0, 10)
        assert after.changes[0] == before.changes[0]
        assert [one.subject for one in after.changes] == ["user:alice", "user:bob"]
        assert await database.generations.adopt() == 0

    async def test_a_user_who_is_new_looks_revoked_to_nobody(self, database: Database) -> None:
        await database.users.add(user(), actor=ACTOR)
        assert await revoked(database) == {}
        assert await database.generations.adopt() == 0
        await revoke_as_0_1_0(database, "user:alice", NOW)
        await database.users.remove("alice", actor=ACTOR)
        await database.users.add(user(), actor=ACTOR)
        (alice,) = (await database.generations.since(0, 10)).changes
        assert await revoked(database) == {"user:alice": alice.changed}
        assert await database.generations.adopt() == 0

    async def test_prune(self, database: Database) -> None:
        for name in ("alice", "bob"):
            await database.users.add(user(name), actor=ACTOR)
            await database.users.set_password(name, "1", actor=ACTOR)
        await age(database, "user:alice", 100.0)
        await database.generations.prune(1000.0)
        assert await changed_since(database, 0) == ["user:alice", "user:bob"]
        await database.generations.prune(50.0)
        assert await changed_since(database, 0) == ["user:bob"]
        assert list(await revoked(database)) == ["user:bob"]
        assert (await database.users.get("alice")).generation == 2, "nobody's numbers go back"

    async def test_what_0_1_0_revoked_is_not_pruned_before_it_has_a_number(
        self, database: Database
    ) -> None:
        await database.users.add(user(), actor=ACTOR)
        await database.users.set_password("alice", "1", actor=ACTOR)
        await age(database, "user:alice", 1000.0)
        at = await database.servers.now() - 500
        await revoke_as_0_1_0(database, "user:alice", at)
        await database.generations.prune(100.0)
        assert await revoked(database) == {"user:alice": at}
        assert await database.generations.adopt() == 1


async def changed_since(database: Database, last: int) -> list[str]:
    return [one.subject for one in (await database.generations.since(last, 100)).changes]


async def revoked(database: Database) -> dict[str, float]:
    """What servers of 0.1.0 go by."""
    assert isinstance(database, Database)
    rows = await database._connections.rows(select(revocations))
    return {row.subject: row.revoked for row in rows}


async def revoke_as_0_1_0(database: Database, subject: str, at: float) -> None:
    """Write what 0.1.0 does: a later time takes the place of an earlier one, and that is all."""
    assert isinstance(database, Database)
    await database._connections.write(partial(_revoke_as_0_1_0, subject=subject, at=at))


def _revoke_as_0_1_0(connection: Connection, *, subject: str, at: float) -> None:
    upsert = insert_or_update(revocations, ["revoked"], later="revoked")
    connection.execute(upsert.on(connection), {"subject": subject, "revoked": at})


async def age(database: Database, subject: str, seconds: float) -> None:
    """Let its change be so long ago."""
    assert isinstance(database, Database)
    for table, columns in ((generations, ["changed"]), (revocations, ["revoked", "noted"])):
        older = {column: table.c[column] - seconds for column in columns}
        change = update(table).where(table.c.subject == subject).values(**older)
        await database._connections.change(change)

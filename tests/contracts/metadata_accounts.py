"""What every `Users`, `AccessTokens`, `SigningKeys` and `Revocations` promises."""

from dataclasses import replace

import pytest

from tests.contracts.metadata_values import NOW, access_token, user
from treescale.errors import TokenUnknown, UserExists, UserUnknown
from treescale.metadata.protocols import Database
from treescale.metadata.records import Revocation, SigningKey


class UsersContract:
    """Subclass with a `database` fixture."""

    async def test_added_is_found(self, database: Database) -> None:
        with pytest.raises(UserUnknown):
            await database.users.get("alice")
        root = replace(user("root"), admin=True)
        await database.users.add(user())
        await database.users.add(root)
        assert await database.users.get("alice") == user()
        assert await database.users.get("root") == root

    async def test_a_name_is_taken_once(self, database: Database) -> None:
        await database.users.add(user())
        with pytest.raises(UserExists):
            await database.users.add(replace(user(), password_hash="other", admin=True))
        assert await database.users.get("alice") == user()

    async def test_list_pages_by_name(self, database: Database) -> None:
        ordered = sorted(["a", "a-b", "a.b", "a0", "a_b", "ab", "b"], key=str.encode)
        for name in reversed(ordered):
            await database.users.add(user(name))
        assert [each.name for each in await database.users.list("", 4)] == ordered[:4]
        assert [each.name for each in await database.users.list(ordered[3], 4)] == ordered[4:]

    async def test_a_new_password_voids_what_was_issued(self, database: Database) -> None:
        with pytest.raises(UserUnknown):
            await database.users.set_password("alice", "new", now=NOW)
        await database.users.add(user())
        await database.users.set_password("alice", "new", now=NOW + 5)
        assert await database.users.get("alice") == replace(user(), password_hash="new")
        assert await database.revocations.list(0) == [Revocation("user:alice", NOW + 5)]

    async def test_remove_takes_the_tokens_and_voids_what_was_issued(
        self, database: Database
    ) -> None:
        await database.users.add(user())
        await database.access_tokens.add(access_token())
        await database.users.remove("alice", now=NOW + 5)
        with pytest.raises(UserUnknown):
            await database.users.get("alice")
        with pytest.raises(TokenUnknown):
            await database.access_tokens.find(access_token().secret_sha256)
        assert await database.revocations.list(0) == [Revocation("user:alice", NOW + 5)]
        with pytest.raises(UserUnknown):
            await database.users.remove("alice", now=NOW + 6)
        assert await database.revocations.list(0) == [Revocation("user:alice", NOW + 5)]


class AccessTokensContract:
    """Subclass with a `database` fixture."""

    async def test_added_is_found_by_its_secret(self, database: Database) -> None:
        await database.users.add(user())
        nothing = replace(access_token("t2"), allow=frozenset(), expires=NOW + 1, last_used=NOW)
        for token in (access_token(), nothing):
            await database.access_tokens.add(token)
            assert await database.access_tokens.find(token.secret_sha256) == token
        with pytest.raises(TokenUnknown):
            await database.access_tokens.find("other")

    async def test_its_user_must_exist(self, database: Database) -> None:
        with pytest.raises(UserUnknown):
            await database.access_tokens.add(access_token())

    async def test_list_is_one_users_oldest_first(self, database: Database) -> None:
        for name in ("alice", "bob"):
            await database.users.add(user(name))
        tokens = [access_token(f"t{9 - n}", created=NOW + n) for n in range(3)]
        for token in (*tokens[::-1], access_token("b", name="bob")):
            await database.access_tokens.add(token)
        assert await database.access_tokens.list("alice") == tokens
        assert await database.access_tokens.list("carol") == []

    async def test_revoke_removes_and_records(self, database: Database) -> None:
        await database.users.add(user())
        await database.access_tokens.add(access_token())
        await database.access_tokens.revoke("t1", now=NOW + 5)
        with pytest.raises(TokenUnknown):
            await database.access_tokens.find(access_token().secret_sha256)
        with pytest.raises(TokenUnknown):
            await database.access_tokens.revoke("t1", now=NOW + 6)
        assert await database.revocations.list(0) == [Revocation("token:t1", NOW + 5)]

    async def test_touch_writes_once_a_minute(self, database: Database) -> None:
        async def last_used() -> float | None:
            return (await database.access_tokens.find(access_token().secret_sha256)).last_used

        await database.users.add(user())
        await database.access_tokens.add(access_token())
        await database.access_tokens.touch("t1", now=NOW)
        assert await last_used() == NOW
        await database.access_tokens.touch("t1", now=NOW + 59)
        assert await last_used() == NOW
        await database.access_tokens.touch("t1", now=NOW + 60)
        assert await last_used() == NOW + 60
        await database.access_tokens.touch("gone", now=NOW)


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


class RevocationsContract:
    """Subclass with a `database` fixture."""

    async def test_the_latest_of_each_subject_since_then(self, database: Database) -> None:
        for name in ("alice", "bob"):
            await database.users.add(user(name))
        set_password = database.users.set_password
        await set_password("alice", "1", now=NOW)
        await set_password("bob", "1", now=NOW + 1)
        await set_password("alice", "2", now=NOW + 2)
        bob, alice = Revocation("user:bob", NOW + 1), Revocation("user:alice", NOW + 2)
        assert await database.revocations.list(0) == [bob, alice]
        assert await database.revocations.list(NOW + 1) == [bob, alice]
        assert await database.revocations.list(NOW + 1.5) == [alice]

    async def test_a_clock_that_went_back_takes_nothing_back(self, database: Database) -> None:
        await database.users.add(user())
        await database.users.set_password("alice", "1", now=NOW)
        await database.users.set_password("alice", "2", now=NOW - 100)
        assert await database.revocations.list(0) == [Revocation("user:alice", NOW)]

    async def test_prune(self, database: Database) -> None:
        for number, name in enumerate(("alice", "bob")):
            await database.users.add(user(name))
            await database.users.remove(name, now=NOW + number)
        await database.revocations.prune(NOW + 1)
        assert await database.revocations.list(0) == [Revocation("user:bob", NOW + 1)]

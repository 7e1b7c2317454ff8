"""What is promised of two who edit the same at once: who looks before the other writes is told."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.contracts.metadata_values import ACTOR, APP, NOW, user
from treescale.errors import PreconditionFailed, Refused, SettingInvalid
from treescale.metadata.database import Database
from treescale.metadata.identity.providers import Provider, Providers
from treescale.metadata.identity.terms import Terms
from treescale.metadata.organisations import PASSWORDS_SETTING, Namespace
from treescale.metadata.usage.quotas import Quotas

ROUNDS = 4
Edit = Callable[[Database, str, object], Coroutine[Any, Any, None]]
"""Has it be so, if it still is as it was seen."""


def only(seen: object) -> Callable[[object], None]:
    """Return a check that what is changed is as it was seen."""

    def check(found: object) -> None:
        shown = found.visibility if isinstance(found, Namespace) else found
        if shown != seen:
            raise PreconditionFailed("changed")

    return check


async def setting(database: Database, value: str, seen: object) -> None:
    await database.settings.change("copies", value, actor=ACTOR, check=only(seen))


async def read_only(database: Database, value: str, seen: object) -> None:
    check = only(seen)
    await database.read_only.set_cluster(
        read_only=value == "on", actor=ACTOR, check=lambda found: check(found or "off")
    )


async def limit(database: Database, value: str, seen: object) -> None:
    quotas = Quotas(database.connections)
    await quotas.set_default("quota", int(value), actor=ACTOR, check=only(seen))


async def namespace(database: Database, value: str, seen: object) -> None:
    await database.organisations.set_visibility("alice", value, actor=ACTOR, check=only(seen))


async def repository(database: Database, value: str, seen: object) -> None:
    await database.repositories.set_visibility(APP, value, now=NOW, actor=ACTOR, check=only(seen))


EDITS: dict[str, tuple[Edit, list[str], object]] = {
    "a setting": (setting, ["1", "2", "3"], None),
    "read-only": (read_only, ["on", "off"], "off"),
    "a limit": (limit, ["1000", "2000", "3000"], None),
    "a namespace": (namespace, ["public", "internal", "private"], "private"),
    "a repository": (repository, ["public", "internal", "private"], ""),
}
CORP = Provider("corp", "https://corp", "client", None, Terms(), NOW)


class EditsContract:
    """Subclass with a `database` fixture, and `other`: the same as another process has it."""

    @pytest.mark.parametrize("what", EDITS)
    async def test_of_two_edits_of_one_page_one_wins(
        self, database: Database, other: Database, what: str
    ) -> None:
        """The first round changes what is not there yet."""
        edit, values, seen = EDITS[what]
        await database.users.add(user(), actor=ACTOR)
        for number in range(ROUNDS):
            to = [one for one in values if one != seen]
            wanted = (to[number % len(to)], to[(number + 1) % len(to)])
            ended = await asyncio.gather(
                edit(database, wanted[0], seen),
                edit(other, wanted[1], seen),
                return_exceptions=True,
            )
            told = sorted(type(one).__name__ for one in ended)
            assert told == ["NoneType", "PreconditionFailed"], ended
            seen = wanted[0] if ended[0] is None else wanted[1]
            await edit(database, str(seen), seen)

    async def test_passwords_are_off_only_beside_a_provider(self, database: Database) -> None:
        providers = Providers(database.connections)
        with pytest.raises(SettingInvalid, match="add a provider first"):
            await providers.set_passwords("off", actor=ACTOR)
        await providers.add(CORP, actor=ACTOR)
        await providers.set_passwords("off", actor=ACTOR)
        with pytest.raises(Refused, match="nobody but administrators"):
            await providers.remove("corp", actor=ACTOR)
        assert await providers.list() == [CORP]
        await providers.set_passwords("on", actor=ACTOR)
        await providers.remove("corp", actor=ACTOR)

    async def test_passwords_go_or_the_last_provider(
        self, database: Database, other: Database
    ) -> None:
        providers, others = Providers(database.connections), Providers(other.connections)
        for _ in range(ROUNDS):
            await providers.add(CORP, actor=ACTOR)
            ended = await asyncio.gather(
                providers.set_passwords("off", actor=ACTOR),
                others.remove("corp", actor=ACTOR),
                return_exceptions=True,
            )
            assert sum(one is None for one in ended) == 1, ended
            is_off = await database.settings.get(PASSWORDS_SETTING) == "off"
            assert is_off == bool(await providers.list())
            await providers.set_passwords("on", actor=ACTOR)
            if is_off:
                await providers.remove("corp", actor=ACTOR)

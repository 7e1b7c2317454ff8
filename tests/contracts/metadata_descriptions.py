"""What repositories and namespaces say of themselves, on either database."""

import pytest

from tests.contracts.metadata_teams import Row, Write
from tests.contracts.metadata_values import ACTOR, APP, NOW, user
from treescale.errors import NamespaceUnknown, NameUnknown
from treescale.metadata.collection.undelete import Undelete
from treescale.metadata.database import Database
from treescale.metadata.naming.descriptions import Descriptions
from treescale.metadata.naming.moves import Moves

TEXT = "# App\nIt *works*; 'quoted' — and ünïcode."


async def made(database: Database) -> Descriptions:
    await database.repositories.set_visibility(APP, "private", now=NOW, actor=ACTOR)
    found = Descriptions(database.connections)
    await found.describe_repository(APP, TEXT, actor=ACTOR)
    return found


class DescriptionsContract:
    """Subclass with a `database` fixture."""

    async def test_a_repository_says_what_it_is_told_last(self, database: Database) -> None:
        found = await made(database)
        assert await found.of_repository(APP) == TEXT
        await found.describe_repository(APP, "else", actor=ACTOR)
        assert await found.of_repository(APP) == "else"
        await found.describe_repository(APP, "", actor=ACTOR)
        assert await found.of_repository(APP) == ""
        with pytest.raises(NameUnknown):
            await found.describe_repository("alice/none", TEXT, actor=ACTOR)
        assert await found.of_repository("alice/none") == ""

    async def test_it_moves_and_comes_back_with_it(self, database: Database) -> None:
        found = await made(database)
        await database.users.add(user("bob"), actor=ACTOR)
        await Moves(database).move(APP, "bob/renamed", actor=ACTOR)
        assert (await found.of_repository(APP), await found.of_repository("bob/renamed")) == (
            "",
            TEXT,
        )
        await database.repositories.delete("bob/renamed", actor=ACTOR)
        assert await found.of_repository("bob/renamed") == ""
        await Undelete(database.connections).repository("bob/renamed", to=APP, actor=ACTOR)
        assert await found.of_repository(APP) == TEXT

    async def test_who_gets_a_free_name_does_not_inherit_it(self, database: Database) -> None:
        found = Descriptions(database.connections)
        await database.users.add(user("ann"), actor=ACTOR)
        await database.organisations.add("ours", "ann", actor=ACTOR)
        for name in ("ours", "ann"):
            await found.describe_namespace(name, TEXT, actor=ACTOR)
            assert await found.of_namespace(name) == TEXT
        await database.organisations.remove("ours", actor=ACTOR)
        await database.users.remove("ann", actor=ACTOR)
        assert [await found.of_namespace(name) for name in ("ours", "ann")] == ["", ""]
        await database.users.add(user("ann"), actor=ACTOR)
        await database.organisations.add("ours", "ann", actor=ACTOR)
        assert [await found.of_namespace(name) for name in ("ours", "ann")] == ["", ""]
        with pytest.raises(NamespaceUnknown):
            await found.describe_namespace("nobody", TEXT, actor=ACTOR)

    async def test_repositories_that_are_taken_over_come_without_it(
        self, database: Database
    ) -> None:
        found = await made(database)
        await database.users.add(user("alice"), actor=ACTOR)
        await found.describe_namespace("alice", TEXT, actor=ACTOR)
        await database.users.remove("alice", actor=ACTOR)
        await database.users.add(user("alice"), actor=ACTOR)
        assert await found.of_namespace("alice") == ""


TOLD = {"characters": len(TEXT)}
OF_DESCRIPTIONS: dict[str, tuple[Write, list[Row]]] = {
    "a namespace described": (
        lambda db: Descriptions(db.connections).describe_namespace("team", TEXT, actor=ACTOR),
        [{"kind": "namespace.description", "namespace": "team", "payload": TOLD}],
    ),
    "a repository described": (
        lambda db: Descriptions(db.connections).describe_repository(APP, TEXT, actor=ACTOR),
        [
            {
                "kind": "repository.description",
                "namespace": "alice",
                "repository": APP,
                "payload": TOLD,
            }
        ],
    ),
}

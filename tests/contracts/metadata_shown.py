"""What pages of content ask of either database: orders, filters, cursors, and what one may see."""

import pytest
from sqlalchemy import select, text, update

from tests.contracts.metadata_values import (
    ACTOR,
    APP,
    INDEX_TYPE,
    NOW,
    blob_reference,
    digest,
    manifest,
    small,
)
from treescale.errors import PageInvalid
from treescale.metadata.collection.undelete import Undelete
from treescale.metadata.database import Database
from treescale.metadata.records import Manifest
from treescale.metadata.schema import tags
from treescale.metadata.shown import tag_pages
from treescale.metadata.shown.finder import Finder
from treescale.metadata.shown.image_facts import ShownImages
from treescale.metadata.shown.repository_pages import ShownRepositories
from treescale.metadata.shown.tag_keys import TagKeys
from treescale.metadata.shown.tag_pages import ShownTags, TagOrder
from treescale.oci.versions import version_key

VERSIONS = ["latest", "2.0", "2.0-rc1", "1.10", "1.9", "main"]
OLD_TAG = text(
    "INSERT INTO tags (repository_id, name, digest, updated) "
    "SELECT repository_id, :tag, digest, 5 FROM manifests LIMIT 1"
)
"""As a server of an earlier version says it."""


async def push(database: Database, name: str, *wanted: str, content: bytes = b"{}") -> Manifest:
    """Push an image with some tags."""
    await database.blobs.commit(name, small(1), upload_id=None, now=NOW, actor=ACTOR)
    made = manifest(content)
    for number, tag in enumerate(wanted or ("1",)):
        put = database.manifests.put
        await put(name, made, [blob_reference(1)], [tag], now=NOW + number, actor=ACTOR)
    return made


async def all_of(shown: ShownTags, order: TagOrder, limit: int, wanted: str = "") -> list[str]:
    """Return all tags, page by page."""
    found, after = list[str](), ""
    while True:
        page = await shown.page(APP, order, after, limit, wanted)
        found += [one.name for one in page.tags]
        if not (after := page.next):
            return found


class ShownContract:
    @pytest.mark.parametrize("limit", [1, 2, 5, 6, 7])
    async def test_tags_come_in_each_order_page_by_page(
        self, database: Database, limit: int
    ) -> None:
        await push(database, APP, *reversed(VERSIONS))
        await push(database, "alice/other", "9.9")
        shown = ShownTags(database.connections)
        assert await all_of(shown, TagOrder.VERSION, limit) == VERSIONS
        assert await all_of(shown, TagOrder.PUSHED, limit) == VERSIONS
        assert await all_of(shown, TagOrder.NAME, limit) == sorted(VERSIONS)
        assert await all_of(shown, TagOrder.VERSION, limit, "0") == ["2.0", "2.0-rc1", "1.10"]
        assert await all_of(shown, TagOrder.NAME, limit, "RC") == ["2.0-rc1"]
        for pattern in ("%", "_", "\\", "2_0"):
            assert await all_of(shown, TagOrder.NAME, limit, pattern) == []

    async def test_a_filter_looks_at_so_many_and_goes_on(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await push(database, APP, *(f"1.{number}" for number in range(20)), "main")
        monkeypatch.setattr(tag_pages, "SCANNED_MAX", 5)
        shown = ShownTags(database.connections)
        page = await shown.page(APP, TagOrder.VERSION, "", 3, "main")
        assert (page.tags, bool(page.next)) == ([], True)
        for order in TagOrder:
            assert await all_of(shown, order, 3, "main") == ["main"]

    async def test_a_cursor_of_another_order_is_refused(self, database: Database) -> None:
        with pytest.raises(PageInvalid):
            await ShownTags(database.connections).page(APP, TagOrder.PUSHED, "x y", 3)

    async def test_a_tag_of_an_older_server_gets_its_key(self, database: Database) -> None:
        await push(database, APP, "1.9")
        await database.connections.change(OLD_TAG, {"tag": "1.10"})
        shown = ShownTags(database.connections)
        assert await all_of(shown, TagOrder.VERSION, 9) == ["1.9", "1.10"]
        assert await TagKeys(database.connections).fill(10) == 1
        assert await TagKeys(database.connections).fill(10) == 0
        assert await all_of(shown, TagOrder.VERSION, 9) == ["1.10", "1.9"]

    async def test_a_tag_that_comes_back_has_its_key(self, database: Database) -> None:
        await push(database, APP, "1.9", "1.10")
        await database.manifests.delete_tag(APP, "1.10", actor=ACTOR)
        await Undelete(database.connections).tag(APP, "1.10", actor=ACTOR)
        shown = ShownTags(database.connections)
        assert await all_of(shown, TagOrder.VERSION, 9) == ["1.10", "1.9"]
        rows = await database.connections.rows(select(tags.c.name, tags.c.version_key))
        assert {row.name: row.version_key for row in rows} == {
            tag: version_key(tag) for tag in ("1.9", "1.10")
        }

    async def test_all_without_a_key_get_one(self, database: Database) -> None:
        await push(database, APP, *VERSIONS)
        await database.connections.change(update(tags).values(version_key=""))
        await TagKeys(database.connections).fill_all()
        assert await all_of(ShownTags(database.connections), TagOrder.VERSION, 9) == VERSIONS

    async def test_what_points_at_an_image_is_known(self, database: Database) -> None:
        made = await push(database, APP, "1", "2")
        other = await push(database, APP, "3", content=b'{"a": 1}')
        shown = ShownTags(database.connections)
        digests = [made.digest, other.digest]
        assert await shown.aliases(APP, digests) == {
            made.digest: ["1", "2"],
            other.digest: ["3"],
        }
        assert list(await shown.named(APP, ["2", "none"])) == ["2"]
        pushed = await shown.pushed(APP, made.digest)
        assert pushed is not None
        assert pushed[1] == ACTOR
        images = ShownImages(database.connections)
        assert (await images.documents(APP, digests))[made.digest].payload == made.payload
        assert await images.tags_among(APP, ["1", "none"]) == {"1"}
        assert await images.inline(APP, [digest(1), digest(2)]) == {digest(1): b"{}"}
        assert [one.name for one in await images.sharing(digest(1))] == [APP]
        assert len(await images.history(APP, "1", 9)) == 1
        await database.repositories.delete(APP, actor=ACTOR)
        assert await images.sharing(digest(1)) == []

    async def test_what_is_said_of_an_image_is_known(self, database: Database) -> None:
        made = await push(database, APP)
        said = Manifest(digest(7), INDEX_TYPE, b"{}", subject=made.digest, artifact_type="x/sig")
        await database.manifests.put(APP, said, [], [], now=NOW, actor=ACTOR)
        found = await ShownImages(database.connections).said(APP, [made.digest])
        assert [(one.subject, one.kind) for one in found] == [(made.digest, "x/sig")]

    async def test_repositories_are_found_by_who_may_see_them(self, database: Database) -> None:
        for name in ("alice/app", "alice/tool", "bob/app", "bob/secret-app", "carol/app"):
            await push(database, name, "1.5")
        await database.repositories.set_public("bob/app", public=True, now=NOW, actor=ACTOR)
        await database.repositories.delete("carol/app", actor=ACTOR)
        shown = ShownRepositories(database.connections)

        async def begun(viewer: str, begin: str) -> list[str]:
            found = await shown.beginning(viewer, "alice", begin, "", 9)
            return [one.name for one in found]

        assert await begun("user", "alice/") == ["alice/app", "alice/tool"]
        assert await begun("user", "alice/a") == ["alice/app"]
        assert await begun("user", "bob/") == ["bob/app"]
        assert await begun("anonymous", "bob/") == ["bob/app"]
        assert await begun("anonymous", "alice/") == []
        assert await begun("all", "bob/") == ["bob/app", "bob/secret-app"]
        assert await begun("all", "carol") == []
        user, _ = await shown.having("user", "alice", "app", "", 9)
        assert [one.name for one in user] == ["alice/app", "bob/app"]
        everything, after = await shown.having("all", "root", "app", "", 2)
        assert [one.name for one in everything] == ["alice/app", "bob/app"]
        more, end = await shown.having("all", "root", "app", after, 2)
        assert ([one.name for one in more], end) == (["bob/secret-app"], "")
        finder = Finder(database.connections)
        found = await finder.tags("user", "alice", "1.", 9)
        assert [(one.repository.name, one.tag) for one in found] == [
            ("alice/app", "1.5"),
            ("alice/tool", "1.5"),
            ("bob/app", "1.5"),
        ]
        made = manifest(b"{}")
        images = await finder.images("user", "alice", made.digest[:15], 9)
        assert [one.repository.name for one in images] == ["alice/app", "alice/tool", "bob/app"]
        assert len(await finder.images("all", "root", made.digest, 9)) == 4

    async def test_what_was_pushed_to_last_comes_first(self, database: Database) -> None:
        for number, name in enumerate(("alice/b", "alice/a", "bob/c")):
            await push(database, name, *(f"{each}" for each in range(number + 1)))
        shown = ShownRepositories(database.connections)
        assert [one.name for one in await shown.recent("alice", 9)] == ["alice/a", "alice/b"]
        assert [one.name for one in await shown.recent("alice", 1)] == ["alice/a"]

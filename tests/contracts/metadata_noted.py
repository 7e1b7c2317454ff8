"""What servers note among the settings, and somebody has written by hand since, is not known.

Whoever reads it takes what is safe then: once more, from the beginning, or not at all.
"""

from dataclasses import replace

from structlog.testing import capture_logs

from tests.contracts.metadata_values import ACTOR, APP, NOW, large, manifest, part
from tests.tables import each_row
from tests.unreadable import NO_NUMBER
from treescale.metadata import layouts
from treescale.metadata.collection.explained import COLLECTED_SETTING, note_collected
from treescale.metadata.collection.untagged import LOOKED_SETTING, UntaggedCollector
from treescale.metadata.database import Database
from treescale.metadata.layouts import OLDEST_SETTING
from treescale.metadata.repositories import OLDEST_DELETED
from treescale.metadata.servers import OLDER_SETTING

MINUTE = 60.0
ROUNDING = 0.01


class NotedNumbersContract:
    """Subclass with `database`."""

    @each_row("text", NO_NUMBER)
    async def test_what_was_collected_counts_from_nothing(
        self, database: Database, text: str
    ) -> None:
        settings = database.settings
        await settings.put(COLLECTED_SETTING, text)
        for counted in ("2", "4"):
            await database.connections.write(lambda connection: note_collected(connection, 2))
            assert await settings.get(COLLECTED_SETTING) == counted

    @each_row("text", NO_NUMBER)
    async def test_any_layout_may_be_in_use_until_what_lies_there_was_moved(
        self, database: Database, text: str
    ) -> None:
        await database.settings.put(OLDEST_SETTING, text)
        assert await database.layouts.oldest_used() is None
        new = replace(large(1, part(1)), layout=5)
        await database.blobs.commit(APP, new, upload_id=None, now=NOW, actor=ACTOR)
        assert await database.layouts.oldest_used() is None
        await database.layouts.settle(6)
        assert await database.layouts.oldest_used() == 6

    @each_row("text", NO_NUMBER)
    async def test_any_layout_may_be_as_old_as_the_first_repository(
        self, database: Database, text: str
    ) -> None:
        repositories = database.repositories
        await database.settings.put(OLDEST_DELETED, text)
        for name in ("a/stays", "a/goes"):
            await repositories.set_public(name, public=False, now=NOW, actor=ACTOR)
        await repositories.delete("a/goes", actor=ACTOR)
        assert await repositories.first_created() == 0

    @each_row("text", NO_NUMBER)
    async def test_a_server_without_leases_may_be_at_work_now_and_that_is_noted(
        self, database: Database, text: str
    ) -> None:
        await database.settings.put(OLDER_SETTING, text)
        before = await database.servers.now()
        assert (await database.servers.older()).until >= before - ROUNDING
        noted = await database.servers.note_older(MINUTE)
        assert noted.is_known
        assert before - ROUNDING <= noted.until <= await database.servers.now() + ROUNDING

    @each_row("text", [*NO_NUMBER, "99999999999"])
    async def test_what_nothing_holds_is_looked_for_again(
        self, database: Database, text: str
    ) -> None:
        collector = UntaggedCollector(database.connections)
        image = manifest(text[:9].encode())
        await database.manifests.put(APP, image, [], [], now=NOW, actor=ACTOR)
        await database.settings.put(LOOKED_SETTING, text)
        assert await collector.look_if_due() == 1
        assert await collector.look_if_due() == 0

    async def test_it_is_said_once(self, database: Database) -> None:
        layouts._tell_of.cache_clear()
        await database.settings.put(OLDEST_SETTING, "9" * 500)
        with capture_logs() as lines:
            for _ in range(3):
                await database.layouts.oldest_used()
        (line,) = lines
        assert (line["event"], line["name"]) == ("setting.unreadable", OLDEST_SETTING)
        assert len(line["value"]) < 50

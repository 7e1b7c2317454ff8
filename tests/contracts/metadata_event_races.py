"""Events of pushes that happen at once, or are broken off: each is recorded as it came to be."""

import asyncio

from tests.contracts.metadata_events import NEW, recorded
from tests.contracts.metadata_races import race
from tests.contracts.metadata_values import ACTOR, APP, NOW, digest, manifest
from treescale.errors import ManifestUnknown
from treescale.metadata.database import Database


class EventRacesContract:
    """What holds of them in any database."""

    async def test_of_many_pushes_at_once_each_knows_what_it_wrote_over(
        self, database: Database, other: Database
    ) -> None:
        """A chain: from nothing to what the tag points at in the end, no link twice."""
        both = (database, other)
        for n in range(4):
            tag, made = f"v{n}", [manifest(b"%d %d" % (n, k)) for k in range(8)]
            await race(
                *(
                    both[k % 2].manifests.put(APP, each, [], [tag], now=NOW, actor=ACTOR)
                    for k, each in enumerate(made)
                )
            )
            found = [one for one in await recorded(database) if one.get("reference") == tag]
            assert len(found) == len(made)
            follows = {one.get("previous_digest"): one["digest"] for one in found}
            at, seen = follows.pop(None), 1
            while at in follows:
                at, seen = follows.pop(at), seen + 1
            assert seen == len(made)
            assert (await database.manifests.resolve(APP, tag)).digest == at

    async def test_of_the_same_push_many_times_at_once_one_is_recorded(
        self, database: Database, other: Database
    ) -> None:
        both = (database, other)
        for n in range(6):
            made = manifest(b"%d" % n, subject=digest(1))
            await race(
                *(
                    both[k % 2].manifests.put(f"a/{n}", made, [], tags, now=NOW, actor=ACTOR)
                    for k, tags in enumerate([[], ["v"], [], ["v"]])
                )
            )
            kinds = [
                (one["kind"], one.get("reference"))
                for one in await recorded(database)
                if one["repository"] == f"a/{n}"
            ]
            assert kinds.count(("repository.created", None)) == 1
            assert kinds.count(("referrer.added", None)) == 1
            assert kinds.count(("image.pushed", "v")) == 1
            assert kinds.count(("image.pushed", None)) <= 1

    async def test_what_is_cancelled_is_recorded_with_its_change_or_not_at_all(
        self, database: Database
    ) -> None:
        for n in range(10):
            put = asyncio.ensure_future(  # noqa: TID251  it is to be cancelled, and looked at
                database.manifests.put(f"a/{n}", NEW, [], ["v"], now=NOW, actor=ACTOR)
            )
            await asyncio.sleep(0.0005 * n)
            put.cancel()
            await asyncio.wait([put])
            rows = [one for one in await recorded(database) if one["repository"] == f"a/{n}"]
            try:
                await database.manifests.resolve(f"a/{n}", "v")
            except ManifestUnknown:
                assert rows == []
            else:
                assert [one["kind"] for one in rows] == ["image.pushed", "repository.created"]

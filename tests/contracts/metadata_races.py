"""What `Database` promises to callers in several processes at once.

Each race may end in one of several ways, but never with an error outside our tree, a deadlock, or
a state no order of the calls could have led to.
"""

import asyncio
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from tests.contracts.metadata_values import (
    ACTOR,
    APP,
    NOW,
    blob_reference,
    digest,
    ending,
    large,
    layout,
    manifest,
    part,
    server,
    small,
    store,
    upload,
    user,
)
from treescale.errors import (
    BlobUnknown,
    ManifestBlobUnknown,
    ManifestUnknown,
    NameUnknown,
    ServerUnknown,
    TreeScaleError,
    Unsupported,
    UploadOutOfOrder,
    UploadUnknown,
    UserExists,
)
from treescale.metadata.database import Database
from treescale.metadata.records import (
    EMPTY_TAIL,
    Base,
    MissingCopy,
    SigningKey,
    StoreReport,
    UploadProgress,
)

SECONDS_MAX = 60


async def race(
    *calls: Coroutine[Any, Any, object], may: tuple[type[TreeScaleError], ...] = ()
) -> list[object]:
    """Run all at once; return what each returned or, when it is one that `may` be, raised."""

    async def settle(call: Coroutine[Any, Any, object]) -> object:
        try:
            return await call
        except may as error:
            return error

    async with asyncio.timeout(SECONDS_MAX), asyncio.TaskGroup() as group:
        tasks = [group.create_task(settle(call)) for call in calls]
    return [task.result() for task in tasks]


def refused(results: Iterable[object]) -> list[object]:
    return [result for result in results if isinstance(result, TreeScaleError)]


class RacesContract:
    """Subclass with `database` and `other`, a second one at the same place, as a fixture each."""

    async def test_the_same_blob_is_committed_by_many(
        self, database: Database, other: Database
    ) -> None:
        new = large(1, *(part(number) for number in range(50)))
        await race(
            *(
                each.blobs.commit(f"alice/{number % 5}", new, upload_id=None, now=NOW, actor=ACTOR)
                for number in range(20)
                for each in (database, other)
            )
        )
        assert await database.blobs.find("alice/4", digest(1)) == new.blob
        usage = await database.repositories.cluster_usage()
        assert (usage.repositories, usage.blobs, usage.chunks) == (5, 1, 50)

    async def test_recipes_of_one_blob_replace_each_other_whole(
        self, database: Database, other: Database
    ) -> None:
        recipes = [large(1, *(part(100 * n + k) for k in range(20))) for n in range(8)]
        await race(
            *(
                (database, other)[n % 2].blobs.commit(
                    APP, new, upload_id=None, now=NOW, actor=ACTOR
                )
                for n, new in enumerate(recipes)
            )
        )
        assert await database.blobs.find(APP, digest(1)) in [new.blob for new in recipes]
        assert (await database.repositories.usage(APP)).bytes_chunked == 20 * 1000

    async def test_blobs_that_share_chunks_in_any_order(
        self, database: Database, other: Database
    ) -> None:
        parts = [part(number) for number in range(60)]
        orders = [parts, parts[::-1], parts[30:] + parts[:30], parts[::2] + parts[1::2]]
        await race(
            *(
                each.blobs.commit(
                    f"a/{n}", large(10 * k + n, *order), upload_id=None, now=NOW, actor=ACTOR
                )
                for n, order in enumerate(orders)
                for k, each in enumerate((database, other), 1)
            )
        )
        usage = await database.repositories.cluster_usage()
        assert (usage.blobs, usage.chunks, usage.bytes_stored) == (8, 60, 60_000)

    async def test_fifty_puts_of_one_tag(self, database: Database, other: Database) -> None:
        await database.blobs.commit(APP, small(1), upload_id=None, now=NOW, actor=ACTOR)
        made = [manifest(b"%d" % number) for number in range(50)]
        await race(
            *(
                (database, other)[n % 2].manifests.put(
                    APP,
                    each,
                    [blob_reference(1)],
                    ["latest", "edge"][:: 1 - n % 2 * 2],
                    now=NOW,
                    actor=ACTOR,
                )
                for n, each in enumerate(made)
            )
        )
        assert await database.manifests.resolve(APP, "latest") in made
        assert await other.manifests.resolve(APP, "edge") in made
        assert await database.manifests.list_tags(APP, "", 9) == ["edge", "latest"]
        assert (await database.repositories.usage(APP)).manifests == 50

    async def test_of_many_advances_one_wins(self, database: Database, other: Database) -> None:
        await database.uploads.create(upload())
        for start in (0, 1000, 2000):
            steps = [
                UploadProgress(start, start + 1000, f"h{n}", (part(start + n),), EMPTY_TAIL)
                for n in range(10)
            ]
            results = await race(
                *(
                    (database, other)[n % 2].uploads.advance("upload", step, now=NOW)
                    for n, step in enumerate(steps)
                ),
                may=(UploadOutOfOrder,),
            )
            (winner,) = (n for n, result in enumerate(results) if isinstance(result, Base))
            for loser in refused(results):
                assert isinstance(loser, UploadOutOfOrder)
                assert loser.offset == start + 1000
            got = await database.uploads.get("upload")
            settled = await database.uploads.settled("upload", got.settled_bytes)
            assert (got.hashed, settled[-1]) == (f"h{winner}", part(start + winner))
            assert len(settled) == start // 1000 + 1

    async def test_readers_of_a_growing_upload_see_whole_steps(
        self, database: Database, other: Database
    ) -> None:
        await database.uploads.create(upload())

        async def grow() -> None:
            for n in range(20):
                step = UploadProgress(n * 1000, n * 1000 + 1000, str(n), (part(n),), EMPTY_TAIL)
                await database.uploads.advance("upload", step, now=NOW)

        async def read() -> None:
            for _ in range(20):
                got = await other.uploads.get("upload")
                settled = await other.uploads.settled("upload", got.settled_bytes)
                assert settled == tuple(part(n) for n in range(got.offset // 1000))

        await race(grow(), read(), read())

    async def test_commit_and_cancel_of_one_upload(
        self, database: Database, other: Database
    ) -> None:
        for n in range(10):
            await database.uploads.create(upload())
            committed, *_ = await race(
                database.blobs.commit(
                    APP, ending(small(n)), upload_id="upload", now=NOW, actor=ACTOR
                ),
                other.uploads.delete("upload"),
                other.uploads.advance("upload", UploadProgress(0, 0, "", (), EMPTY_TAIL), now=NOW),
                may=(UploadUnknown, UploadOutOfOrder),
            )
            with suppress(UploadUnknown):
                await other.uploads.delete("upload")
            if committed is None:
                assert await other.blobs.find(APP, digest(n)) == small(n).blob
            else:
                with pytest.raises(BlobUnknown):
                    await other.blobs.find(APP, digest(n))

    async def test_put_and_unlink_of_what_it_needs(
        self, database: Database, other: Database
    ) -> None:
        numbers = range(1, 5)
        for n in range(12):
            for number in numbers:
                await database.blobs.commit(
                    APP, small(number), upload_id=None, now=NOW, actor=ACTOR
                )
            made = manifest(b"%d" % n)
            put, *unlinked = await race(
                database.manifests.put(
                    APP, made, [blob_reference(x) for x in numbers], ["v1"], now=NOW, actor=ACTOR
                ),
                *(other.blobs.unlink(APP, digest(number)) for number in reversed(numbers)),
                other.blobs.commit("bob/app", small(1), upload_id=None, now=NOW, actor=ACTOR),
                may=(ManifestBlobUnknown, Unsupported),
            )
            for number, gone in zip(reversed(numbers), unlinked, strict=False):
                there = isinstance(gone, Unsupported)
                assert there == await other.blobs.mount(
                    "c/d", digest(number), [APP], now=NOW, actor=ACTOR
                )
            if not isinstance(put, ManifestBlobUnknown):
                assert await other.manifests.get(APP, made.digest) == made
                assert all(isinstance(gone, Unsupported) for gone in unlinked[: len(numbers)])
                await other.manifests.delete(APP, made.digest, actor=ACTOR)

    async def test_put_and_delete_of_one_manifest(
        self, database: Database, other: Database
    ) -> None:
        for _ in range(12):
            await database.manifests.put(APP, manifest(), [], ["v1"], now=NOW, actor=ACTOR)
            await race(
                database.manifests.put(APP, manifest(), [], ["v1", "v2"], now=NOW, actor=ACTOR),
                other.manifests.delete(APP, manifest().digest, actor=ACTOR),
                other.manifests.put(APP, manifest(b"[]"), [], ["v2"], now=NOW, actor=ACTOR),
                may=(ManifestUnknown,),
            )
            for tag in await other.manifests.list_tags(APP, "", 9):
                assert await other.manifests.resolve(APP, tag) in (manifest(), manifest(b"[]"))

    async def test_everything_against_the_repositorys_deletion(
        self, database: Database, other: Database
    ) -> None:
        for n in range(12):
            await database.blobs.commit(APP, small(1), upload_id=None, now=NOW, actor=ACTOR)
            await database.manifests.put(
                APP, manifest(), [blob_reference(1)], ["v1"], now=NOW, actor=ACTOR
            )
            await race(
                other.repositories.delete(APP, actor=ACTOR),
                database.blobs.commit(
                    APP, large(50 + n, part(n)), upload_id=None, now=NOW, actor=ACTOR
                ),
                database.manifests.put(
                    APP, manifest(b"[]"), [blob_reference(1)], ["v2"], now=NOW, actor=ACTOR
                ),
                database.blobs.mount(APP, digest(1), [APP], now=NOW, actor=ACTOR),
                database.repositories.set_public(APP, public=True, now=NOW, actor=ACTOR),
                other.manifests.delete_tag(APP, "v1", actor=ACTOR),
                other.blobs.unlink(APP, digest(1)),
                may=(NameUnknown, ManifestBlobUnknown, ManifestUnknown, BlobUnknown, Unsupported),
            )
            await race(database.repositories.delete(APP, actor=ACTOR), may=(NameUnknown,))

    async def test_mounts_from_each_other(self, database: Database, other: Database) -> None:
        for name, number in (("a/a", 1), ("b/b", 2)):
            await database.blobs.commit(name, small(number), upload_id=None, now=NOW, actor=ACTOR)
        for _ in range(10):
            results = await race(
                database.blobs.mount("b/b", digest(1), ["a/a"], now=NOW, actor=ACTOR),
                other.blobs.mount("a/a", digest(2), ["b/b"], now=NOW, actor=ACTOR),
                database.blobs.mount("c/c", digest(1), ["a/a", "b/b"], now=NOW, actor=ACTOR),
                other.blobs.mount("c/c", digest(2), ["a/a", "b/b"], now=NOW, actor=ACTOR),
            )
            assert results == [True] * 4
            await database.repositories.delete("c/c", actor=ACTOR)

    async def test_one_user_of_a_name_and_one_first_key(
        self, database: Database, other: Database
    ) -> None:
        both = (database, other)
        results = await race(
            *(both[n % 2].users.add(user(), actor=ACTOR) for n in range(10)), may=(UserExists,)
        )
        assert len(refused(results)) == 9
        await race(
            *(
                both[n % 2].signing_keys.add_first(SigningKey(f"k{n}", "pem", NOW, NOW))
                for n in range(10)
            )
        )
        assert len(await other.signing_keys.list()) == 1
        await race(*(both[n % 2].settings.put("a", str(n)) for n in range(10)))
        assert await other.settings.get("a") in [str(n) for n in range(10)]

    async def test_of_many_layouts_of_a_number_one_wins(
        self, database: Database, other: Database
    ) -> None:
        for number in range(1, 6):
            made = [layout(number, f"s{n}") for n in range(10)]
            late = layout(number + 1, "too early")
            won = await race(
                *(
                    (database, other)[n % 2].layouts.propose(each, actor=ACTOR)
                    for n, each in enumerate(made)
                ),
            )
            assert sorted(map(bool, won)) == [False] * 9 + [True]
            assert await other.layouts.latest() == made[won.index(True)]
            assert len(await database.layouts.list(99)) == number
            if number == 5:
                assert await other.layouts.propose(late, actor=ACTOR)

    async def test_of_many_that_claim_a_store_one_wins(
        self, database: Database, other: Database
    ) -> None:
        claims = [store("disk", f"server-{n}") for n in range(10)]
        for holder in ("", "one of before"):
            won = await race(
                *(
                    (database, other)[n % 2].stores.register(claim, holder=holder)
                    for n, claim in enumerate(claims)
                )
            )
            assert won.count(True) == 1
            (found,) = await database.stores.list()
            assert found.server_id == claims[won.index(True)].server_id
            await other.stores.remove("disk", actor=ACTOR)
            await database.stores.register(store("disk", "one of before"))

    async def test_of_two_that_claim_to_be_one_server_one_wins(
        self, database: Database, other: Database
    ) -> None:
        for n in range(5):
            one = server(f"server-{n}")
            won = await race(
                database.servers.register(one, live_seconds=60, actor=ACTOR),
                other.servers.register(
                    replace(one, address="http://copy:1"), live_seconds=60, actor=ACTOR
                ),
            )
            assert sorted(map(bool, won)) == [False, True]

    async def test_one_first_peer_key(self, database: Database, other: Database) -> None:
        won = await race(
            *((database, other)[n % 2].peer_keys.add(1, bytes([n]) * 32) for n in range(10))
        )
        (key,) = await other.peer_keys.list()
        assert key.secret == bytes([won.index(True)]) * 32
        assert won.count(True) == 1

    async def test_heartbeats_of_a_server_that_is_forgotten(
        self, database: Database, other: Database
    ) -> None:
        names = [f"s{n}" for n in range(8)]
        for _ in range(8):
            await database.servers.register(server("a"), live_seconds=60, actor=ACTOR)
            for name in names:
                await database.stores.register(store(name, "a"))
            reports = [StoreReport(name, 9, 8) for name in names]
            await race(
                database.servers.heartbeat("a", reports),
                other.servers.heartbeat("a", reports[::-1]),
                other.servers.remove("a", actor=ACTOR),
                database.servers.heartbeat("a", reports),
                may=(ServerUnknown,),
            )
            assert await other.stores.list() == []

    async def test_debts_are_made_and_paid_in_any_order(
        self, database: Database, other: Database
    ) -> None:
        debts: list[MissingCopy] = [(part(n)[0], f"s{n % 3}") for n in range(60)]
        parts = [part(n) for n in range(60)]
        await database.uploads.create(upload())
        step = UploadProgress(0, 60_000, "h", tuple(parts), EMPTY_TAIL, tuple(debts[::-1]))
        whole = ending(large(1, *parts))
        await race(
            database.blobs.commit(
                APP,
                replace(whole, owed=tuple(debts)),
                upload_id="upload",
                now=NOW,
                actor=ACTOR,
            ),
            other.uploads.advance("upload", step, now=NOW),
            other.under_replicated.add(debts[30:] + debts[:30], now=NOW),
            database.under_replicated.settle(debts[::-1]),
            other.under_replicated.forget("s1", 99),
            may=(UploadUnknown, UploadOutOfOrder),
        )
        await database.under_replicated.add(debts, now=NOW)
        assert sum(each.copies for each in await other.under_replicated.summary()) == 60

"""What every write records of itself: one row when something has changed, none when it has not."""

import uuid
from collections.abc import Awaitable
from dataclasses import replace

import msgspec
import pytest
from sqlalchemy import select

from tests.contracts.metadata_descriptions import OF_DESCRIPTIONS
from tests.contracts.metadata_hooks import HOOK, OVER, new
from tests.contracts.metadata_people_events import OF_PEOPLE
from tests.contracts.metadata_rule_events import OF_RULES
from tests.contracts.metadata_teams import OF_TEAMS, Row, Write
from tests.contracts.metadata_values import (
    ACTOR,
    APP,
    INDEX_TYPE,
    NOW,
    TOKEN_ID,
    access_token,
    blob_reference,
    digest,
    layout,
    manifest,
    server,
    small,
    store,
    user,
)
from treescale.errors import (
    HookUnknown,
    LastOwner,
    ManifestBlobUnknown,
    ManifestUnknown,
    NameUnknown,
    PreconditionFailed,
    ServerUnknown,
    StoreUnknown,
    TokenUnknown,
    TreeScaleError,
    UserExists,
    UserUnknown,
)
from treescale.metadata import schema
from treescale.metadata.collection.purge_plan import PurgeReader
from treescale.metadata.collection.purging import Purging
from treescale.metadata.collection.undelete import Undelete
from treescale.metadata.database import Database
from treescale.metadata.events.recording import Kind
from treescale.metadata.naming.moves import Moves
from treescale.metadata.portable.last_backup import LastBackup, note_backup
from treescale.metadata.records import StoreState
from treescale.oci.conditions import Condition, EntityTags

SETUP = "cli:setup@here"
OLD, NEW = manifest(b"old"), manifest(b"new")
SIGNATURE = manifest(b"signature", subject=OLD.digest, artifact_type="application/vnd.example")
ABSENT = Condition(none_match=EntityTags(anything=True))
OTHER = Condition(match=EntityTags(strong=frozenset({digest(1)})))
LIVE = 15.0
SERVER = {"server_id": "s", "name": "name-s"}
IMAGE = {"media_type": INDEX_TYPE, "size": 3}
SIGNED = {
    "media_type": INDEX_TYPE,
    "size": 9,
    "artifact_type": "application/vnd.example",
    "subject": OLD.digest,
}


async def recorded(database: Database, actor: str = ACTOR) -> list[Row]:
    """Return what one actor did, without what differs from run to run, which is checked here."""
    found = []
    for row in await database._connections.rows(select(schema.events)):
        one = dict(row._mapping)
        assert uuid.UUID(one.pop("event_id")).version == 7
        assert abs(one.pop("at") - await database.servers.now()) < 60
        del one["sequence"]
        told = msgspec.json.decode(one["payload"])
        one["payload"] = {name: told[name] for name in told if name not in ("rule", "rules")}
        if one.pop("actor") == actor:
            found.append({key: value for key, value in one.items() if value is not None})
    order = ("kind", "reference", "digest")
    return sorted(found, key=lambda one: [one.get(name, "") for name in order])


def of_app(kind: str, payload: Row | None = None, **columns: str) -> Row:
    return {
        "kind": kind,
        "namespace": "alice",
        "repository": APP,
        "payload": payload or {},
        **columns,
    }


async def there(database: Database) -> None:
    """Let one of everything be there."""
    await database.manifests.put(APP, OLD, [], ["v1"], now=NOW, actor=SETUP)
    await database.manifests.put(APP, SIGNATURE, [], [], now=NOW, actor=SETUP)
    await database.blobs.commit("bob/base", small(1), upload_id=None, now=NOW, actor=SETUP)
    await database.users.add(user(), actor=SETUP)
    await database.users.add(user("carol"), actor=SETUP)
    await database.users.add(user("dora"), actor=SETUP)
    await database.organisations.add("team", "dora", actor=SETUP)
    await database.organisations.grant("team", "carol", role="reader", repository="*", actor=SETUP)
    await database.access_tokens.add(access_token(), actor=SETUP)
    await database.servers.register(server("s"), live_seconds=LIVE, actor=SETUP)
    await database.stores.register(store("d", "s"))
    await database.servers.register(server("empty"), live_seconds=LIVE, actor=SETUP)
    await database.servers.mark_stopped("empty")
    await database.layouts.propose(layout(1, "d"), actor=SETUP)
    await database.hooks.add(HOOK, actor=SETUP)
    await database.hooks.add(replace(HOOK, hook_id="h2"), actor=SETUP)
    await database.hooks.disable("h2", "off", actor=SETUP)


async def deleted_and_restored(database: Database, delete: Awaitable[object]) -> None:
    """Delete the image, or its repository, and bring it back."""
    await delete
    undelete = Undelete(database.connections)
    try:
        await undelete.repository(APP, to=None, actor=ACTOR)
    except NameUnknown:
        await undelete.manifest(APP, OLD.digest, actor=ACTOR)


async def deleted_and_purged(database: Database, delete: Awaitable[object]) -> None:
    """Delete the image, or its repository, and purge it."""
    await delete
    purging = Purging(database.connections)
    plan = await PurgeReader(database.connections).plan(APP, None, None)
    await purging.begin("p", APP, actor=ACTOR)
    await purging.take("p", plan, actor=ACTOR)


OPENED = {"public": True, "visibility": "public"}


def of_hook(kind: str, hook_id: str = "h1", **payload: str) -> Row:
    told = {"hook": hook_id, "scope": HOOK.scope, "format": HOOK.format.value, **payload}
    return {"kind": kind, "namespace": HOOK.namespace, "payload": told}


async def tried_and_gone(db: Database) -> None:
    """Have a hook's receiver be gone for good."""
    await db.hooks.send("h1", new("e"))
    ((delivery, _),) = await db.hooks.due("h1", 1, held_back=1.0)
    await db.hooks.tried(delivery, replace(OVER, disable="gone"), actor=ACTOR)


TOKEN = {
    "token_id": "t2",
    "label": "laptop",
    "allow": ["pull", "push"],
    "repository": "alice/*",
    "expires": None,
}
OF_ROBOTS = ("robot.", "issuer.")
"""What such events tell is in `metadata_robots`."""
OF_LIMITS = ("quota.", "namespace.limits", "cluster.limits")
"""Likewise in `metadata_quotas`."""
CHANGES: dict[str, tuple[Write, list[Row]]] = {
    "a setting": (
        lambda db: db.settings.change("copies", "2", actor=ACTOR),
        [
            {
                "kind": "setting.changed",
                "payload": {"name": "copies", "value": "2", "before": None},
            }
        ],
    ),
    "a webhook": (
        lambda db: db.hooks.add(replace(HOOK, hook_id="h3"), actor=ACTOR),
        [of_hook("hook.added", "h3")],
    ),
    "no webhook any more": (
        lambda db: db.hooks.remove("h1", actor=ACTOR),
        [of_hook("hook.removed")],
    ),
    "a webhook stops": (
        lambda db: db.hooks.disable("h1", "why", actor=ACTOR),
        [of_hook("hook.disabled", reason="why")],
    ),
    "a webhook's receiver is gone": (
        tried_and_gone,
        [of_hook("hook.disabled", reason="gone")],
    ),
    "a webhook goes on": (
        lambda db: db.hooks.enable("h2", skip_to=1, actor=ACTOR),
        [of_hook("hook.enabled", "h2")],
    ),
    "another secret of a webhook": (
        lambda db: db.hooks.rotate("h1", "s", 1.0, actor=ACTOR),
        [of_hook("hook.rotated")],
    ),
    "a tag moves": (
        lambda db: db.manifests.put(APP, NEW, [], ["v1"], now=NOW, actor=ACTOR),
        [
            of_app(
                "image.pushed",
                IMAGE,
                reference="v1",
                digest=NEW.digest,
                previous_digest=OLD.digest,
            )
        ],
    ),
    "a tag moves, and nothing is pushed": (
        lambda db: db.manifests.move_tag(APP, NEW, [], "v1", now=NOW, actor=ACTOR),
        [
            of_app(
                "tag.moved",
                IMAGE,
                reference="v1",
                digest=NEW.digest,
                previous_digest=OLD.digest,
            )
        ],
    ),
    "a tag stays where it is": (
        lambda db: db.manifests.move_tag(APP, OLD, [], "v1", now=NOW, actor=ACTOR),
        [],
    ),
    "a tag moves, under a condition": (
        lambda db: db.manifests.put(
            APP,
            NEW,
            [],
            ["v1"],
            now=NOW,
            actor=ACTOR,
            condition=Condition(match=EntityTags(strong=frozenset({OLD.digest}))),
        ),
        [
            of_app(
                "image.pushed",
                IMAGE,
                reference="v1",
                digest=NEW.digest,
                previous_digest=OLD.digest,
            )
        ],
    ),
    "two tags, one of them as it was": (
        lambda db: db.manifests.put(APP, OLD, [], ["v1", "v2", "v2"], now=NOW, actor=ACTOR),
        [of_app("image.pushed", IMAGE, reference="v2", digest=OLD.digest)],
    ),
    "a new tag, under a condition": (
        lambda db: db.manifests.put(APP, NEW, [], ["v2"], now=NOW, actor=ACTOR, condition=ABSENT),
        [of_app("image.pushed", IMAGE, reference="v2", digest=NEW.digest)],
    ),
    "pushed by digest": (
        lambda db: db.manifests.put(APP, NEW, [], [], now=NOW, actor=ACTOR),
        [of_app("image.pushed", IMAGE, digest=NEW.digest)],
    ),
    "pushed by digest, under a condition": (
        lambda db: db.manifests.put(APP, NEW, [], [], now=NOW, actor=ACTOR, condition=ABSENT),
        [of_app("image.pushed", IMAGE, digest=NEW.digest)],
    ),
    "a signature, by tag": (
        lambda db: db.manifests.put("bob/base", SIGNATURE, [], ["sha256-1"], now=NOW, actor=ACTOR),
        [
            {
                **of_app("image.pushed", SIGNED, digest=SIGNATURE.digest),
                "namespace": "bob",
                "repository": "bob/base",
                "reference": "sha256-1",
            },
            {
                **of_app("referrer.added", SIGNED, digest=SIGNATURE.digest),
                "namespace": "bob",
                "repository": "bob/base",
            },
        ],
    ),
    "a tag for a signature that is there": (
        lambda db: db.manifests.put(APP, SIGNATURE, [], ["sha256-1"], now=NOW, actor=ACTOR),
        [
            of_app(
                "image.pushed",
                SIGNED,
                reference="sha256-1",
                digest=SIGNATURE.digest,
            )
        ],
    ),
    "a repository's first manifest": (
        lambda db: db.manifests.put("carol/new", NEW, [], ["v1"], now=NOW, actor=ACTOR),
        [
            {
                **of_app("image.pushed", IMAGE, reference="v1", digest=NEW.digest),
                "namespace": "carol",
                "repository": "carol/new",
            },
            {**of_app("repository.created"), "namespace": "carol", "repository": "carol/new"},
        ],
    ),
    "a repository's first blob": (
        lambda db: db.blobs.commit("carol/new", small(2), upload_id=None, now=NOW, actor=ACTOR),
        [{**of_app("repository.created"), "namespace": "carol", "repository": "carol/new"}],
    ),
    "a repository's first mount": (
        lambda db: db.blobs.mount("carol/new", digest(1), ["bob/base"], now=NOW, actor=ACTOR),
        [{**of_app("repository.created"), "namespace": "carol", "repository": "carol/new"}],
    ),
    "tag deleted": (
        lambda db: db.manifests.delete_tag(APP, "v1", actor=ACTOR),
        [of_app("tag.deleted", reference="v1", digest=OLD.digest)],
    ),
    "image deleted, with its tag and what is said of it": (
        lambda db: db.manifests.delete(APP, OLD.digest, actor=ACTOR),
        [of_app("image.deleted", digest=each) for each in sorted((OLD.digest, SIGNATURE.digest))],
    ),
    "image restored": (
        lambda db: deleted_and_restored(db, db.manifests.delete(APP, OLD.digest, actor=SETUP)),
        [of_app("image.restored", digest=OLD.digest)],
    ),
    "repository restored": (
        lambda db: deleted_and_restored(db, db.repositories.delete(APP, actor=SETUP)),
        [of_app("repository.restored")],
    ),
    "repository moved": (
        lambda db: Moves(db).move(APP, "carol/app", actor=ACTOR),
        [
            of_app("repository.moved", {"to": "carol/app"}),
            {
                **of_app("repository.moved", {"from": APP}),
                "namespace": "carol",
                "repository": "carol/app",
            },
        ],
    ),
    "image purged": (
        lambda db: deleted_and_purged(db, db.manifests.delete(APP, OLD.digest, actor=SETUP)),
        [of_app("image.purged", digest=each) for each in sorted((OLD.digest, SIGNATURE.digest))],
    ),
    "repository purged": (
        lambda db: deleted_and_purged(db, db.repositories.delete(APP, actor=SETUP)),
        [
            *(
                of_app("image.purged", digest=each)
                for each in sorted((OLD.digest, SIGNATURE.digest))
            ),
            of_app("repository.purged"),
        ],
    ),
    "repository deleted": (
        lambda db: db.repositories.delete(APP, actor=ACTOR),
        [of_app("repository.deleted")],
    ),
    "repository public": (
        lambda db: db.repositories.set_visibility(APP, "public", now=NOW, actor=ACTOR),
        [of_app("repository.visibility", OPENED)],
    ),
    **OF_TEAMS,
    **OF_DESCRIPTIONS,
    **OF_RULES,
    **OF_PEOPLE,
    "a new one public": (
        lambda db: db.repositories.set_public("carol/new", public=True, now=NOW, actor=ACTOR),
        [
            {**of_app("repository.created"), "namespace": "carol", "repository": "carol/new"},
            {
                **of_app("repository.visibility", OPENED),
                "namespace": "carol",
                "repository": "carol/new",
            },
        ],
    ),
    "token created": (
        lambda db: db.access_tokens.add(access_token("t2"), actor=ACTOR),
        [{"kind": "token.created", "namespace": "alice", "payload": TOKEN}],
    ),
    "token revoked": (
        lambda db: db.access_tokens.revoke(TOKEN_ID, actor=ACTOR),
        [
            {
                "kind": "token.revoked",
                "namespace": "alice",
                "payload": {"token_id": TOKEN_ID, "label": "laptop"},
            }
        ],
    ),
    "user created": (
        lambda db: db.users.add(user("bob"), actor=ACTOR),
        [{"kind": "user.created", "namespace": "bob", "payload": {"admin": False}}],
    ),
    "user removed": (
        lambda db: db.users.remove("alice", actor=ACTOR),
        [{"kind": "user.removed", "namespace": "alice", "payload": {}}],
    ),
    "password set": (
        lambda db: db.users.set_password("alice", "$argon2id$y", actor=ACTOR),
        [{"kind": "user.password", "namespace": "alice", "payload": {}}],
    ),
    "server registered": (
        lambda db: db.servers.register(server("new"), live_seconds=LIVE, actor=ACTOR),
        [
            {
                "kind": "server.registered",
                "payload": {"server_id": "new", "name": "name-new", "zone": "zone"},
            }
        ],
    ),
    "server forgotten": (
        lambda db: db.servers.remove("s", actor=ACTOR),
        [{"kind": "server.forgotten", "payload": SERVER}],
    ),
    "servers long gone": (
        lambda db: db.servers.prune(LIVE, actor=ACTOR),
        [
            {
                "kind": "server.forgotten",
                "payload": {"server_id": "empty", "name": "name-empty"},
            }
        ],
    ),
    "store drained": (
        lambda db: db.stores.set_state("d", StoreState.DRAINING, actor=ACTOR),
        [{"kind": "store.state", "payload": {"store_id": "d", "state": "draining"}}],
    ),
    "store forgotten": (
        lambda db: db.stores.remove("d", actor=ACTOR),
        [{"kind": "store.state", "payload": {"store_id": "d", "state": "forgotten"}}],
    ),
    "a repository made read-only": (
        lambda db: db.read_only.set_repository(APP, read_only=True, actor=ACTOR),
        [of_app("repository.read_only", {"read_only": True})],
    ),
    "a namespace made read-only": (
        lambda db: db.read_only.set_namespace("alice", read_only=True, actor=ACTOR),
        [{"kind": "namespace.read_only", "namespace": "alice", "payload": {"read_only": True}}],
    ),
    "the cluster made read-only": (
        lambda db: db.read_only.set_cluster(read_only=True, actor=ACTOR),
        [{"kind": "cluster.read_only", "payload": {"read_only": True}}],
    ),
    "a backup made": (
        lambda db: note_backup(db, LastBackup(NOW, ACTOR, 7, "/backup", encrypted=False)),
        [
            {
                "kind": "backup.made",
                "payload": {"file": "/backup", "bytes": 7, "encrypted": False},
            }
        ],
    ),
    "layout put in force": (
        lambda db: db.layouts.propose(layout(2, "d", "e"), actor=ACTOR),
        [{"kind": "layout.changed", "payload": {"number": 2, "copies": 2, "stores": 2}}],
    ),
}
NOTHING_NEW: dict[str, Write] = {
    "the same push": lambda db: db.manifests.put(APP, OLD, [], ["v1"], now=NOW, actor=ACTOR),
    "the same push by digest": lambda db: db.manifests.put(APP, OLD, [], [], now=NOW, actor=ACTOR),
    "the same signature": lambda db: db.manifests.put(APP, SIGNATURE, [], [], now=NOW, actor=ACTOR),
    "a blob where others are": lambda db: db.blobs.commit(
        APP, small(2), upload_id=None, now=NOW, actor=ACTOR
    ),
    "a mount that finds nothing": lambda db: db.blobs.mount(
        "carol/new", digest(9), ["bob/base"], now=NOW, actor=ACTOR
    ),
    "the same role": lambda db: db.organisations.grant(
        "team", "carol", role="reader", repository="*", actor=ACTOR
    ),
    "new ones private as they were": lambda db: db.organisations.set_visibility(
        "team", "private", actor=ACTOR
    ),
    "private as it was": lambda db: db.repositories.set_public(
        APP, public=False, now=NOW, actor=ACTOR
    ),
    "a repository written to as it was": lambda db: db.read_only.set_repository(
        APP, read_only=False, actor=ACTOR
    ),
    "a namespace written to as it was": lambda db: db.read_only.set_namespace(
        "alice", read_only=False, actor=ACTOR
    ),
    "the cluster written to as it was": lambda db: db.read_only.set_cluster(
        read_only=False, actor=ACTOR
    ),
    "a server that starts again": lambda db: db.servers.register(
        replace(server("s"), name="renamed"), live_seconds=LIVE, actor=ACTOR
    ),
    "a server that runs elsewhere": lambda db: db.servers.register(
        replace(server("s"), address="http://copy:1"), live_seconds=LIVE, actor=ACTOR
    ),
    "no server is long gone": lambda db: db.servers.prune(1e12, actor=ACTOR),
    "active as it was": lambda db: db.stores.set_state("d", StoreState.ACTIVE, actor=ACTOR),
    "a webhook that is enabled": lambda db: db.hooks.enable("h1", skip_to=1, actor=ACTOR),
    "a webhook that is disabled": lambda db: db.hooks.disable("h2", "again", actor=ACTOR),
    "a layout out of turn": lambda db: db.layouts.propose(layout(5, "d"), actor=ACTOR),
}
REFUSED: dict[str, tuple[Write, type[TreeScaleError]]] = {
    "the last owner leaves": (
        lambda db: db.organisations.revoke("team", "dora", repository=None, actor=ACTOR),
        LastOwner,
    ),
    "the name is an organisation's": (
        lambda db: db.users.add(user("team"), actor=ACTOR),
        UserExists,
    ),
    "a layer is missing": (
        lambda db: db.manifests.put(
            "carol/new", NEW, [blob_reference(7)], ["v1"], now=NOW, actor=ACTOR
        ),
        ManifestBlobUnknown,
    ),
    "the second tag is there": (
        lambda db: db.manifests.put(
            APP, NEW, [], ["a", "v1"], now=NOW, actor=ACTOR, condition=ABSENT
        ),
        PreconditionFailed,
    ),
    "the manifest is there": (
        lambda db: db.manifests.put(APP, OLD, [], [], now=NOW, actor=ACTOR, condition=ABSENT),
        PreconditionFailed,
    ),
    "another manifest is meant": (
        lambda db: db.manifests.delete_tag(APP, "v1", OTHER, actor=ACTOR),
        PreconditionFailed,
    ),
    "another one is meant": (
        lambda db: db.manifests.delete(APP, OLD.digest, OTHER, actor=ACTOR),
        PreconditionFailed,
    ),
    "no tag": (lambda db: db.manifests.delete_tag(APP, "v9", actor=ACTOR), ManifestUnknown),
    "no manifest": (
        lambda db: db.manifests.delete(APP, NEW.digest, actor=ACTOR),
        ManifestUnknown,
    ),
    "no repository": (lambda db: db.repositories.delete("a/b", actor=ACTOR), NameUnknown),
    "the user is there": (lambda db: db.users.add(user(), actor=ACTOR), UserExists),
    "no user": (lambda db: db.users.remove("bob", actor=ACTOR), UserUnknown),
    "no user's password": (
        lambda db: db.users.set_password("bob", "x", actor=ACTOR),
        UserUnknown,
    ),
    "a token for no user": (
        lambda db: db.access_tokens.add(access_token("t2", name="bob"), actor=ACTOR),
        UserUnknown,
    ),
    "no token": (lambda db: db.access_tokens.revoke("t9", actor=ACTOR), TokenUnknown),
    "no repository to be read-only": (
        lambda db: db.read_only.set_repository("a/b", read_only=True, actor=ACTOR),
        NameUnknown,
    ),
    "no server": (lambda db: db.servers.remove("x", actor=ACTOR), ServerUnknown),
    "no store's state": (
        lambda db: db.stores.set_state("x", StoreState.ACTIVE, actor=ACTOR),
        StoreUnknown,
    ),
    "no webhook": (lambda db: db.hooks.remove("x", actor=ACTOR), HookUnknown),
    "no store": (lambda db: db.stores.remove("x", actor=ACTOR), StoreUnknown),
}


class EventsContract:
    """Subclass with `database` and `other`, a second one at the same place, as a fixture each."""

    @pytest.mark.parametrize("name", CHANGES)
    async def test_a_change_is_recorded_once(self, database: Database, name: str) -> None:
        write, expected = CHANGES[name]
        await there(database)
        await write(database)
        assert await recorded(database) == expected

    def test_each_kind_is_among_them(self) -> None:
        # No write of a noun: a look finds them, or they are counted, or tell what is done on disks.
        elsewhere = {
            Kind.IMAGE_PULLED,
            Kind.UPLOAD_REFUSED,
            Kind.LOGIN_SUCCEEDED,
            Kind.LOGIN_REFUSED,
            Kind.REPAIR_FINISHED,
            Kind.COLLECT_FINISHED,
            Kind.SERVER_DOWN,
            Kind.SERVER_UP,
            Kind.STORE_SUSPECT,
            Kind.STORE_BACK,
            Kind.CHUNK_LOST,
            Kind.CHUNK_HEALED,
            *(kind for kind in Kind if kind.startswith(OF_ROBOTS + OF_LIMITS)),
            Kind.RETENTION_RAN,
        }
        assert {one["kind"] for _, rows in CHANGES.values() for one in rows} == {*Kind} - elsewhere

    async def test_what_changes_nothing_is_not(self, database: Database) -> None:
        await there(database)
        for name, write in NOTHING_NEW.items():
            await write(database)
            assert await recorded(database) == [], name

    async def test_what_is_refused_is_not(self, database: Database) -> None:
        await there(database)
        for name, (write, error) in REFUSED.items():
            with pytest.raises(error):
                await write(database)
            assert await recorded(database) == [], name

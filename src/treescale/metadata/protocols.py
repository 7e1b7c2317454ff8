"""What the registry asks of its database, by noun. One contract suite holds all implementations.

Everywhere: a write is durable and visible to every other caller when the call returns; each call
is one transaction; a lost connection or a locked or full database raises DatabaseAway (StoreFull
when the disk is full); lists are keyset-paginated in byte order of their key (`after` is exclusive,
"" starts) and never return more than `limit` rows. Repositories come into being with the first
blob or manifest linked to them.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

from treescale.metadata.records import (
    AccessToken,
    Blob,
    ChunkPart,
    ClusterUsage,
    Debt,
    LayoutRecord,
    Manifest,
    NewBlob,
    OwedCopies,
    PeerKey,
    ReferrerDescriptor,
    Repository,
    RepositoryUsage,
    Revocation,
    ServerRecord,
    SigningKey,
    StoreRecord,
    StoreReport,
    StoreState,
    Throughput,
    Upload,
    UploadProgress,
    User,
)
from treescale.oci.manifests import Reference


class Repositories(Protocol):
    """Repositories and what they hold."""

    async def get(self, name: str) -> Repository:
        """Return the repository; raises NameUnknown."""
        ...

    async def list_all(self, after: str, limit: int) -> list[Repository]:
        """Return a page of all repositories."""
        ...

    async def first_created(self) -> float | None:
        """Return when the oldest there ever was came into being, deleted ones included.

        None when there are none now. For administration.
        """
        ...

    async def list_visible(self, namespace: str | None, after: str, limit: int) -> list[Repository]:
        """Return a page of the public ones and those of `namespace` (exactly that first part)."""
        ...

    async def set_public(self, name: str, *, public: bool, now: float) -> None:
        """Open pulling to everybody, or close it. Creates an empty repository when absent."""
        ...

    async def delete(self, name: str) -> None:
        """Remove it with tags, manifests and links; raises NameUnknown. Blobs await collection."""
        ...

    async def usage(self, name: str) -> RepositoryUsage:
        """Count what it holds; raises NameUnknown. For administration, not for request paths."""
        ...

    async def cluster_usage(self) -> ClusterUsage:
        """Count what all hold. For administration."""
        ...


class Blobs(Protocol):
    """Blobs and their links to repositories."""

    async def find(self, repository: str, digest: str) -> Blob:
        """Return the blob when linked to this repository; else raises BlobUnknown."""
        ...

    async def commit(
        self, repository: str, new: NewBlob, *, upload_id: str | None, now: float
    ) -> None:
        """Make the blob exist, linked and leased, and end the upload: one transaction.

        What `new.owed` says is in it too (faults.md G2): no blob exists whose missing copies nobody
        knows of. Idempotent: a blob of this digest may exist already (its recipe is then replaced
        by this one), linked or not, and the upload may be gone.
        """
        ...

    async def mount(
        self, repository: str, digest: str, sources: Sequence[str], *, now: float
    ) -> bool:
        """Link the blob if one of `sources` has it, and renew its lease; False when none has."""
        ...

    async def unlink(self, repository: str, digest: str) -> None:
        """Remove the link; raises BlobUnknown when there is none."""
        ...

    async def list_repository(self, repository: str, after: str, limit: int) -> list[Blob]:
        """Return a page of the linked blobs, by digest. For administration."""
        ...


class Manifests(Protocol):
    """Manifests by digest and by tag."""

    async def put(
        self,
        repository: str,
        manifest: Manifest,
        references: Sequence[Reference],
        tags: Sequence[str],
        *,
        now: float,
    ) -> None:
        """Store the manifest and point `tags` at it, atomically; idempotent.

        Raises ManifestBlobUnknown, naming one of them, when a required reference is missing from
        this repository: blobs must be linked, manifests present (a required manifest reference is
        also met by a linked blob, and a required blob reference by a present manifest, as
        BuildKit's cache indexes need).
        """
        ...

    async def get(self, repository: str, digest: str) -> Manifest:
        """Return the manifest; raises ManifestUnknown."""
        ...

    async def resolve(self, repository: str, tag: str) -> Manifest:
        """Return the manifest a tag points at; raises ManifestUnknown."""
        ...

    async def delete(self, repository: str, digest: str) -> None:
        """Remove the manifest and every tag that points at it; raises ManifestUnknown."""
        ...

    async def referrers(
        self,
        repository: str,
        subject: str,
        artifact_type: str | None,
        after: str,
        limit: int,
        annotation_bytes_max: int,
    ) -> list[ReferrerDescriptor]:
        """Return a page, by digest, of the manifests whose subject this is; [] when none.

        Stops early, but never before the first row, when the annotations of the page would pass
        `annotation_bytes_max` bytes (as JSON).
        """
        ...


class Tags(Protocol):
    """The tags of a repository."""

    async def list(self, repository: str, after: str, limit: int) -> list[str]:
        """Return a page of tags in byte order; raises NameUnknown for an absent repository."""
        ...

    async def delete(self, repository: str, tag: str) -> None:
        """Remove the tag alone; raises ManifestUnknown."""
        ...


class Uploads(Protocol):
    """Upload sessions.

    What `create` and `advance` wrote survives the end of every process, but perhaps not a power
    cut: the client begins again then. Everything else in this file, heartbeats excepted, is durable
    when it returns.
    """

    async def create(self, upload: Upload) -> None:
        """Keep a fresh session (no bytes)."""
        ...

    async def get(self, upload_id: str) -> Upload:
        """Return the session; raises UploadUnknown. Costs the same however long it is."""
        ...

    async def settled(self, upload_id: str, size: int) -> tuple[ChunkPart, ...]:
        """Return the chunks of the first `size` settled bytes, in order.

        They never change, so with the `settled_bytes` of an Upload they are those it had, also
        when the session has moved on since. Raises UploadUnknown when the session does not have
        chunks of just that length: it has ended.
        """
        ...

    async def advance(self, upload_id: str, progress: UploadProgress, *, now: float) -> None:
        """Append what arrived, and note `progress.owed`; raises UploadUnknown, UploadOutOfOrder.

        UploadOutOfOrder carries the offset in force, when the session is not at
        `progress.from_offset`: of two writers one wins.
        """
        ...

    async def delete(self, upload_id: str) -> None:
        """Forget the session; raises UploadUnknown."""
        ...

    async def delete_idle(self, updated_before: float, limit: int) -> int:
        """Forget up to `limit` sessions idle since then; return how many."""
        ...


class Users(Protocol):
    """Accounts."""

    async def add(self, user: User) -> None:
        """Create it; raises UserExists."""
        ...

    async def get(self, name: str) -> User:
        """Return it; raises UserUnknown."""
        ...

    async def list(self, after: str, limit: int) -> list[User]:
        """Return a page by name."""
        ...

    async def set_password(self, name: str, password_hash: str, *, now: float) -> None:
        """Change it, and record a revocation of `user:NAME`; raises UserUnknown."""
        ...

    async def remove(self, name: str, *, now: float) -> None:
        """Remove the account and its access tokens, and record a revocation; raises UserUnknown.

        Its repositories stay.
        """
        ...


class AccessTokens(Protocol):
    """Access tokens."""

    async def add(self, token: AccessToken) -> None:
        """Keep it; raises UserUnknown when its user does not exist."""
        ...

    async def find(self, secret_sha256: str) -> AccessToken:
        """Return the token with this secret, expired or not; raises TokenUnknown."""
        ...

    async def list(self, user: str) -> list[AccessToken]:
        """Return a user's tokens, oldest first."""
        ...

    async def revoke(self, token_id: str, *, now: float) -> None:
        """Remove it and record a revocation of `token:ID`; raises TokenUnknown."""
        ...

    async def touch(self, token_id: str, *, now: float) -> None:
        """Record a use; nothing happens when it is gone. At most one write a minute."""
        ...


class SigningKeys(Protocol):
    """The token service's keys."""

    async def list(self) -> list[SigningKey]:
        """Return all keys, oldest `not_before` first."""
        ...

    async def add(self, key: SigningKey) -> None:
        """Keep a key."""
        ...

    async def add_first(self, key: SigningKey) -> None:
        """Keep a key if there is none at all; of several callers at once one wins."""
        ...

    async def retire(self, key_id: str, *, retire_at: float) -> None:
        """Stop signing with it from then on."""
        ...

    async def remove(self, key_id: str) -> None:
        """Forget it: its tokens are void at once."""
        ...


class Revocations(Protocol):
    """What has been revoked lately."""

    async def list(self, since: float) -> list[Revocation]:
        """Return the revocations recorded since then (the latest per subject)."""
        ...

    async def prune(self, before: float) -> None:
        """Forget those older than the longest token life."""
        ...


class Settings(Protocol):
    """The cluster's settings: text by name."""

    async def get(self, name: str) -> str | None:
        """Return the value, None when unset."""
        ...

    async def put(self, name: str, value: str) -> None:
        """Set it."""
        ...


class PeerKeys(Protocol):
    """The secrets by which servers know each other. All are accepted; which signs is not said."""

    async def list(self) -> list[PeerKey]:
        """Return all, oldest first."""
        ...

    async def add(self, number: int, secret: bytes) -> bool:
        """Keep a key under this number; False when there is one: of several at once one wins."""
        ...

    async def remove(self, number: int) -> None:
        """Forget it: what it signed is void at once. Nothing happens when it is gone."""
        ...


class Servers(Protocol):
    """The servers of the cluster, and when each was last heard of.

    `seen` is the database's time, so it may be compared whoever wrote it; servers' clocks may not.
    """

    async def register(self, server: ServerRecord, *, live_seconds: float) -> bool:
        """Add it, or update its labels, and note that it is heard of now.

        False, and nothing changes, when it was heard of within `live_seconds` at another address:
        two servers then claim to be the same one.
        """
        ...

    async def heartbeat(
        self,
        server_id: str,
        reports: Sequence[StoreReport] = (),
        throughput: Throughput | None = None,
    ) -> float:
        """Note that it lives and what it says of itself; return the database's time.

        A store whose report names trouble is not heard of by that; a report on a store that is not
        (or no longer) this server's is ignored. One small transaction for both, so that a beat is
        one commit. It survives the end of every process, but perhaps not a power cut: then the next
        one comes soon enough. Raises ServerUnknown when the server has been forgotten.
        """
        ...

    async def list(self) -> list[ServerRecord]:
        """Return all, by id."""
        ...

    async def now(self) -> float:
        """Return the database's time: with the caller's before and after, how far that is off."""
        ...

    async def remove(self, server_id: str) -> None:
        """Forget it and its stores; raises ServerUnknown. It may register again."""
        ...

    async def depart(self, server_id: str) -> None:
        """Note that it has ended: it and its stores may register elsewhere at once.

        Raises ServerUnknown.
        """
        ...

    async def prune(self, silent_seconds: float) -> int:
        """Forget the servers that have no store and were silent for so long; return how many."""
        ...


class Stores(Protocol):
    """The stores of the cluster, and whose each is."""

    async def register(self, store: StoreRecord, *, holder: str = "") -> bool:
        """Add it, or update its labels and owner, and note that it is heard of now.

        False, and nothing changes, when neither its own server nor `holder` (a server's id, "" for
        none yet) has it: of two servers that claim a store at once one wins. When it was first
        registered, and its state, stay; `seen`, room and trouble are not taken from the record.
        """
        ...

    async def set_state(self, store_id: str, state: StoreState) -> None:
        """Say what is wanted of it; raises StoreUnknown. Twice is once."""
        ...

    async def list(self) -> list[StoreRecord]:
        """Return all, by id."""
        ...

    async def remove(self, store_id: str) -> None:
        """Forget it; raises StoreUnknown. It may register again, and is then active."""
        ...


class Layouts(Protocol):
    """The layouts, numbered from 1. None is ever changed or taken back."""

    async def latest(self) -> LayoutRecord | None:
        """Return the one in force, None before the first."""
        ...

    async def list(self, limit: int) -> list[LayoutRecord]:
        """Return the newest `limit`, newest first."""
        ...

    async def propose(self, layout: LayoutRecord) -> bool:
        """Put it in force when its number is the next; else False, and nothing changes.

        Of several callers that decide at once exactly one wins; the others look again.
        """
        ...


class Owed(Protocol):
    """Copies that a chunk's homes have yet to get.

    `Uploads.advance` and `Blobs.commit` add to them in their own transactions. A debt may outlive
    its reason (the layout changed, the upload was given up): who pays looks first, then settles.
    """

    async def add(self, debts: Iterable[Debt], *, now: float) -> None:
        """Note them; those that are known keep the time since when they are owed."""
        ...

    async def summary(self) -> list[OwedCopies]:
        """Return for each store that is owed anything how much, by id. For administration."""
        ...

    async def list(self, store_id: str, after: bytes, limit: int) -> list[bytes]:
        """Return a page of the chunks owed to the store, by id; `after` = b"" starts."""
        ...

    async def settle(self, debts: Iterable[Debt]) -> None:
        """Strike them off, when the copies are durable; unknown ones do not matter."""
        ...

    async def forget(self, store_id: str, limit: int) -> int:
        """Strike off up to `limit` of what is owed to a store that was forgotten; return how many.

        Bounded, because there may be millions: call it until it returns 0.
        """
        ...


class Database(Protocol):
    """All of the above on one database."""

    repositories: Repositories
    blobs: Blobs
    manifests: Manifests
    tags: Tags
    uploads: Uploads
    users: Users
    access_tokens: AccessTokens
    signing_keys: SigningKeys
    revocations: Revocations
    settings: Settings
    peer_keys: PeerKeys
    servers: Servers
    stores: Stores
    layouts: Layouts
    owed: Owed

    async def ping(self) -> None:
        """Return when the database answers; raises DatabaseAway."""
        ...

    async def run(self) -> None:
        """Watch over the database until cancelled: for the TaskGroup of whoever serves.

        While this runs, one that is away is found so within two seconds, and every call raises
        DatabaseAway at once until it answers again. Returns at once where nothing is to be watched.
        """
        ...

    async def close(self) -> None:
        """Let go of all connections."""
        ...

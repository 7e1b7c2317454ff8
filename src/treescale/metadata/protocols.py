"""What the registry asks of its database, by noun. One contract suite holds all implementations.

Everywhere: a write is durable and visible to every other caller when the call returns; each call
is one transaction; a lost connection or a locked or full database raises DatabaseAway (StoreFull
when the disk is full); lists are keyset-paginated in byte order of their key (`after` is exclusive,
"" starts) and never return more than `limit` rows. Repositories come into being with the first
blob or manifest linked to them.
"""

from collections.abc import Sequence
from typing import Protocol

from treescale.metadata.records import (
    AccessToken,
    Blob,
    ChunkPart,
    ClusterUsage,
    Manifest,
    NewBlob,
    ReferrerDescriptor,
    Repository,
    RepositoryUsage,
    Revocation,
    SigningKey,
    StoreRecord,
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

        Idempotent: a blob of this digest may exist already (its recipe is then replaced by this
        one), linked or not, and the upload may be gone.
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
    cut: the client begins again then. Everything else in this file is durable when it returns.
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
        """Append what arrived; raises UploadUnknown, UploadOutOfOrder.

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


class Stores(Protocol):
    """The stores of the cluster."""

    async def register(self, store: StoreRecord) -> None:
        """Add it, or update its labels."""
        ...

    async def list(self) -> list[StoreRecord]:
        """Return all, by id."""
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
    stores: Stores

    async def ping(self) -> None:
        """Return when the database answers; raises DatabaseAway."""
        ...

    async def close(self) -> None:
        """Let go of all connections."""
        ...

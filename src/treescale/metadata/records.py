"""What the database holds, as values. Names and digests are text already checked by `oci`.

Times are seconds since the epoch (UTC). Chunk ids are 32 raw bytes (BLAKE3-256). A recipe is the
binary form of docs/formats.md and opaque in this room.
"""

from dataclasses import dataclass, field
from enum import StrEnum

ChunkPart = tuple[bytes, int]
"""A chunk's id and its length in bytes."""
Debt = tuple[bytes, str]
"""A chunk's id, and the id of a store that is a home of it and has yet to get its copy."""


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository; public means that anybody may pull."""

    name: str
    public: bool
    created: float


@dataclass(frozen=True, slots=True)
class RepositoryUsage:
    """What one repository holds. `bytes_logical` counts each linked blob once."""

    repository: Repository
    tags: int
    manifests: int
    blobs: int
    bytes_logical: int
    bytes_chunked: int
    """Bytes of its distinct chunks plus its inline blobs."""
    bytes_exclusive: int
    """Bytes of its distinct chunks and inline blobs that no other repository's blob uses."""


@dataclass(frozen=True, slots=True)
class ClusterUsage:
    """What all repositories hold together."""

    repositories: int
    blobs: int
    bytes_pushed: int
    """Sum over repositories of the bytes of their linked blobs."""
    bytes_blobs: int
    """Sum of the distinct blobs' bytes."""
    bytes_stored: int
    """Sum of the distinct chunks' bytes plus inline blobs: one copy of what the stores hold."""
    chunks: int


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob: its bytes inline (small), or the recipe of its chunks; exactly one is not None."""

    digest: str
    size: int
    inline: bytes | None
    recipe: bytes | None


@dataclass(frozen=True, slots=True)
class NewBlob:
    """A blob to commit, with its distinct chunks so that references are exact rows."""

    blob: Blob
    chunks: tuple[ChunkPart, ...]
    owed: tuple[Debt, ...] = ()
    """Homes that did not get their copy; those that an upload's progress named need not be here."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest exactly as pushed, with what lists need without parsing it again."""

    digest: str
    media_type: str
    payload: bytes
    subject: str | None = None
    artifact_type: str | None = None
    annotations: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReferrerDescriptor:
    """One line of a referrers list."""

    digest: str
    media_type: str
    size: int
    artifact_type: str | None
    annotations: dict[str, str]


@dataclass(frozen=True, slots=True)
class UploadTail:
    """The end of an upload that later bytes may still extend: inline bytes, or one chunk.

    It is written again, longer, when more bytes come; only the finished upload's tail is a chunk
    of the recipe for good. Empty uploads have an empty inline tail.
    """

    inline: bytes | None
    chunk: ChunkPart | None

    @property
    def size(self) -> int:
        """Return its length in bytes."""
        if self.chunk is not None:
            return self.chunk[1]
        return len(self.inline or b"")


EMPTY_TAIL = UploadTail(inline=b"", chunk=None)


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload session, bound to one repository and one user; any worker may continue it.

    `offset` = sum of the settled chunks' lengths + the tail's size. `hashed` is the hex digest,
    by `algorithm`, of exactly these bytes. The settled chunks are read apart (`Uploads.settled`):
    there may be many, and most requests need none of them.
    """

    upload_id: str
    repository: str
    user: str
    algorithm: str
    offset: int
    hashed: str
    tail: UploadTail
    created: float
    updated: float

    @property
    def settled_bytes(self) -> int:
        """Return how many bytes the settled chunks hold."""
        return self.offset - self.tail.size


@dataclass(frozen=True, slots=True)
class UploadProgress:
    """What one request added to an upload that had `from_offset` bytes."""

    from_offset: int
    offset: int
    hashed: str
    settled: tuple[ChunkPart, ...]
    """Chunks to append to the settled ones (the former tail's bytes are in them or in `tail`)."""
    tail: UploadTail
    owed: tuple[Debt, ...] = ()
    """Homes that did not get their copy of what this request wrote."""


@dataclass(frozen=True, slots=True)
class User:
    """An account. `password_hash` is an argon2id string."""

    name: str
    password_hash: str
    admin: bool
    created: float


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A credential of limited reach. Its secret is never kept, only the secret's SHA-256.

    `allow` is a subset of pull, push, delete; `repository` a glob that names must match.
    """

    token_id: str
    user: str
    label: str
    secret_sha256: str
    allow: frozenset[str]
    repository: str
    created: float
    expires: float | None
    last_used: float | None


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key for the token service (Ed25519, PKCS #8 PEM). Signs from `not_before` to `retire_at`.

    Its tokens are accepted until `retire_at` plus the longest token life.
    """

    key_id: str
    private_pem: str
    not_before: float
    retire_at: float


@dataclass(frozen=True, slots=True)
class Revocation:
    """A user (`user:NAME`) or access token (`token:ID`) whose bearer tokens of before are void."""

    subject: str
    revoked: float


class StoreState(StrEnum):
    """What the operator wants of a store. Whether it answers is another matter: see `seen`."""

    ACTIVE = "active"
    DRAINING = "draining"
    """To be emptied: no home any more, still read."""


@dataclass(frozen=True, slots=True)
class Throughput:
    """What passes through a server now, in bytes per second: the mean of the last seconds."""

    to_clients: int
    from_clients: int
    to_servers: int
    from_servers: int


@dataclass(frozen=True, slots=True)
class ServerRecord:
    """A server of the cluster. One that has no stores is none the less one (`--no-store`)."""

    server_id: str
    name: str
    """What its machine calls itself; for people, and not unique."""
    address: str
    """The URL at which the others reach it. No two servers have the same."""
    zone: str
    started: float
    seen: float = 0.0
    """When it was last heard of, by the database's clock; written by the database alone."""
    throughput: Throughput | None = None
    """What it said with its last heartbeat; registering does not write it."""
    place: str = ""
    """Where it runs, if it is sure to be alone there (`chunks.occupancy`): while it lives nobody
    else says the same. "" when it is not sure."""


@dataclass(frozen=True, slots=True)
class StoreRecord:
    """A store of the cluster, the labels placement uses, and what its server says of it."""

    store_id: str
    server: str
    """The name of its server's machine; for people."""
    path: str
    zone: str
    weight: float
    registered: float
    server_id: str = ""
    """Whose it is; "" as long as only a version without server ids has registered it."""
    state: StoreState = StoreState.ACTIVE
    seen: float = 0.0
    """When it was last said to be usable, by the database's clock; written by the database."""
    bytes_total: int | None = None
    bytes_free: int | None = None
    trouble: str = ""
    """Why it cannot be used, in words for people; "" when it can."""


@dataclass(frozen=True, slots=True)
class StoreReport:
    """What a server says of one of its stores with each heartbeat."""

    store_id: str
    bytes_total: int | None
    bytes_free: int | None
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class LayoutStore:
    """A store as a layout names it: what placement needs, and nothing that changes by itself."""

    store_id: str
    server: str
    """Its server's id: a failure domain."""
    zone: str
    weight: float


@dataclass(frozen=True, slots=True)
class LayoutRecord:
    """A layout: which stores hold how many copies. It never changes; the highest number rules."""

    number: int
    stores: tuple[LayoutStore, ...]
    copies: int
    created: float


@dataclass(frozen=True, slots=True)
class OwedCopies:
    """How many copies a store has yet to get, and since when the oldest."""

    store_id: str
    copies: int
    since: float


@dataclass(frozen=True, slots=True)
class PeerKey:
    """A secret by which servers know each other: 32 random bytes. Higher numbers are newer."""

    number: int
    secret: bytes = field(repr=False)
    created: float

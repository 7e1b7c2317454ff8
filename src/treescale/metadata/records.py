"""What the database holds, as values. Names and digests are text already checked by `oci`.

Times are seconds since the epoch (UTC). Chunk ids are 32 raw bytes (BLAKE3-256). A recipe is the
binary form of docs/formats.md and opaque in this room.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from treescale.errors import Failed
from treescale.lease_times import LEASE_SECONDS

ChunkPart = tuple[bytes, int]
"""A chunk's id and its length in bytes."""
MissingCopy = tuple[bytes, str]
"""A chunk's id, and the id of a store that is a home of it and has yet to get its copy."""


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository: public means that anybody may pull, internal that whoever is signed in may."""

    name: str
    public: bool
    created: float
    internal: bool = False

    @property
    def visibility(self) -> str:
        """Return `public`, `internal` or `private`."""
        return visibility_of(public=self.public, internal=self.internal)


def visibility_of(*, public: bool, internal: bool) -> str:
    """Return in a word who may pull; what is public is so, whatever else is said of it."""
    return "public" if public else "internal" if internal else "private"


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
    bytes_unreferenced: int
    """Of these, what no repository's blob has any more: deleted, and not yet collected."""
    chunks: int


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Blob:
    """A blob: its bytes inline (small), or the recipe of its chunks; exactly one is not None."""

    digest: str
    size: int
    inline: bytes | None
    recipe: bytes | None
    lost_since: float | None = None
    """Since when some of its bytes are known to have no good copy anywhere; None: they have."""
    promised_until: float = field(default=0.0, compare=False)
    """Until when, by the database's clock, whoever is told that the repository has it has a lease
    of time enough to build on it (`lease_times.link_min`)."""


class Noted(StrEnum):
    """What became of the word that no store has a good copy of a chunk."""

    NEW = "new"
    KNOWN = "known"
    """It was noted before."""
    UNPROVEN = "unproven"
    """Some store has not answered, or is in trouble: it may have one. Nothing was noted."""


@dataclass(frozen=True, slots=True)
class LostBlob:
    """A blob of a repository of which chunks are lost, and the tags whose images lack it."""

    repository: str
    digest: str
    size: int
    since: float
    chunk_count: int
    chunks: tuple[bytes, ...]
    """Not all when there are very many."""
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LostData:
    """What is lost of all that repositories hold. What no repository has any more is no loss."""

    chunks: int
    blobs: int
    links: int
    """Pairs of a repository and a lost blob: what `listed` shows the first of."""
    since: float | None
    listed: tuple[LostBlob, ...]


class Base(NamedTuple):
    """The last exchange with the database before the first put of a chunk that no row names yet."""

    time: float
    """The database's: it must be recorded within `lease_times.record_within` of it."""
    purges: int = 0
    """How many purges were complete then: what was put before a later one is gone."""


@dataclass(frozen=True, slots=True)
class NewBlob:
    """A blob to commit, with its distinct chunks so that references are exact rows."""

    blob: Blob
    chunks: tuple[ChunkPart, ...]
    owed: tuple[MissingCopy, ...] = ()
    """Homes that did not get their copy; those that an upload's progress named need not be here."""
    layout: int | None = None
    """The lowest number of a layout by which whoever writes this has placed chunks, if any."""
    base: Base | None = None
    """None: rows name all chunks of it."""
    session: "SessionState | None" = None
    """How the upload that this ends was when its bytes were counted."""
    notes: str | None = None
    """Another session that this ends: only what was put meanwhile is in it."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Manifest:
    """A manifest exactly as pushed, with what lists need without parsing it again."""

    digest: str
    media_type: str
    payload: bytes
    subject: str | None = None
    artifact_type: str | None = None
    annotations: dict[str, str] = field(default_factory=dict)
    promised_until: float | None = field(default=None, compare=False)
    """Until when, by the database's clock, whoever is told of it has a lease of time enough to
    build on it; None: something held it, so that nobody takes it away for longer than that."""


@dataclass(frozen=True, slots=True)
class WrongSize:
    """A descriptor of a manifest that says another length than what it points at has."""

    digest: str
    said: int
    has: int


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
    updated: float = field(compare=False)
    """When something was recorded last, by the database's clock; written by the database."""
    base: Base = field(default=Base(0.0), compare=False)
    """When this was read, or recorded, last: that of what is put from now on."""
    lease: float = field(default=LEASE_SECONDS, compare=False)
    """The cluster's lease when this was read, in seconds."""
    read_only: str | None = field(default=None, compare=False)
    """What of its repository was read-only when this was read (`layouts.ReadOnlyBy`)."""
    room: int | None = field(default=None, compare=False)
    """How many bytes fitted into its namespace then; None for any number, or not asked."""

    @property
    def settled_bytes(self) -> int:
        """Return how many bytes the settled chunks hold."""
        return self.offset - self.tail.size

    @property
    def state(self) -> "SessionState":
        """Return what tells whether it has changed since."""
        return SessionState(self.offset, self.settled_bytes, self.hashed)


class SessionState(NamedTuple):
    """How an upload is: another state has another of these."""

    offset: int
    settled_bytes: int
    hashed: str


class DatabaseTime(NamedTuple):
    """The base of what is put from now on, and the cluster's lease in seconds."""

    base: Base
    lease: float


@dataclass(frozen=True, slots=True)
class UploadProgress:
    """What one request added to an upload that had `from_offset` bytes."""

    from_offset: int
    offset: int
    hashed: str
    settled: tuple[ChunkPart, ...]
    """Chunks to append to the settled ones (the former tail's bytes are in them or in `tail`)."""
    tail: UploadTail
    owed: tuple[MissingCopy, ...] = ()
    """Homes that did not get their copy of what this request wrote."""
    layout: int | None = None
    """As of `NewBlob`."""
    base: Base | None = None
    """As of `NewBlob`."""


NO_PASSWORD: Final = "$argon2id$v=19$m=47104,t=1,p=1$" + "A" * 22 + "$" + "A" * 43
"""The hash of no password: whoever verifies against it, 0.1.0 too, finds that none matches."""


@dataclass(frozen=True, slots=True)
class User:
    """An account. `password_hash` is an argon2id string, `NO_PASSWORD` without a password."""

    name: str
    password_hash: str
    admin: bool
    created: float
    generation: int = field(default=0, compare=False)
    """The cluster's when this was read; nothing that is written."""
    suspended: float | None = None
    """Since when nothing of it counts, by the database's clock; None while it does."""

    @property
    def has_password(self) -> bool:
        """Return whether there is a password to log in with."""
        return self.password_hash != NO_PASSWORD

    @property
    def is_suspended(self) -> bool:
        """Return whether nothing of this account counts."""
        return self.suspended is not None


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A credential of limited reach. Its secret is never kept, only the secret's SHA-256.

    `allow` is of pull, push, delete, or the scopes of what is beside the registry; `repository` a
    glob that names must match.
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
    generation: int = field(default=0, compare=False)
    """The cluster's when this was read; nothing that is written."""
    user_suspended: bool = field(default=False, compare=False)
    """Whether its user is suspended; likewise."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key for the token service (Ed25519, PKCS #8 PEM). Signs from `not_before` to `retire_at`.

    It is kept for what it has signed: a login lasts as long as what it was made with.
    """

    key_id: str
    private_pem: str
    not_before: float
    retire_at: float


@dataclass(frozen=True, slots=True)
class Change:
    """A user (`user:NAME`) or access token (`token:ID`) whose bearer tokens of before are void.

    Those carry a lower number than `generation`. `changed` is for bearer tokens of 0.1.0, which
    carry none: the database's time, or by the clock of the server of 0.1.0 that wrote it.
    """

    subject: str
    generation: int
    changed: float


@dataclass(frozen=True, slots=True)
class Changes:
    """A page of changes in the order of their numbers, and the highest number there is."""

    present: int
    changes: tuple[Change, ...]


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


class Unreached(NamedTuple):
    """A server that does not answer another one's pings as it should, and why, for people."""

    server_id: str
    reason: str


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
    """Where it runs, if it is sure to be alone there (`chunks.disk.lock`): while it lives nobody
    else says the same. "" when it is not sure."""
    version: str = ""
    """Of TreeScale, as it said when it was started; "" of one that says none (0.1.0)."""
    clock_error: float | None = None
    """How many seconds its clock is ahead of the database's, as it said with its last heartbeat."""
    unreached: tuple[Unreached, ...] = ()
    """As it said with its last heartbeat."""
    certificate_expires: float | None = None
    """When the certificate it serves with ends, by no clock of its own; None without TLS, and as
    long as it has not said."""


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


FULL: Final = "full: "
"""How the trouble of a store begins that only has no room: what it holds is read as ever."""
_FULL_BEFORE: Final = (" bytes free and keeps ", " inodes left; add a disk", " is full; add a disk")
"""How version 0.1.0 says so."""


_READ_ONLY: Final = " is mounted read-only"


def is_full(trouble: str) -> bool:
    """Return whether a store's trouble is that it is full, and nothing else."""
    return trouble.startswith(FULL) or any(words in trouble for words in _FULL_BEFORE)


def is_read_only(trouble: str) -> bool:
    """Return whether a store's trouble is that its disk is mounted read-only."""
    return _READ_ONLY in trouble


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
class LeaseRecord:
    """Whose a piece of background work is. `until` is the database's time."""

    name: str
    holder: str
    until: float
    fence: int


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


@dataclass(frozen=True, slots=True)
class Examined:
    """How the database was found when somebody looked; None: nothing is wrong."""

    read: Failed | None = None
    write: Failed | None = None
    """As far as can be told without writing; a heartbeat tells the rest."""
    schema: Failed | None = None


@dataclass(frozen=True, slots=True)
class StoreWalk:
    """Where the walk of a store stands, as its server has said it last."""

    store_id: str
    layout: int
    """The number of the layout it goes by."""
    pending: int
    """Partitions, of 4,096, still to be looked at: it is not known what of them is missing."""
    missing: int
    """Copies that the store should have and has not."""
    misplaced: int
    """Copies on it that belong elsewhere."""
    rate: int
    """Bytes a second that it moves."""
    looked: float
    """Since when all its partitions were looked at, by the database's clock."""
    verified: float
    """Since when all its copies were read back, by the database's clock."""
    partitions: bytes = b""
    """The same for each partition, packed (see `maintenance.planning.progress`)."""
    updated: float = 0.0
    """When that was, by the database's clock."""

    @property
    def is_whole(self) -> bool:
        """Say whether nothing was left to do under that layout."""
        return not (self.pending or self.missing or self.misplaced)


class JobState(StrEnum):
    """How far a store is with work that was asked for."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class StoreJob:
    """One store's part in work that was asked for."""

    job_id: str
    store_id: str
    kind: str
    state: JobState
    done: int
    """Partitions done, of `total`."""
    total: int
    moved: int
    """Bytes that were moved or read back."""
    problems: str
    """What was found, as JSON (docs/schema.md); "" when there is nothing to say."""
    actor: str
    created: float
    updated: float

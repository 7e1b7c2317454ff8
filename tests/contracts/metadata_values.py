"""Records for the metadata contracts, made from small numbers."""

from dataclasses import replace

from treescale.metadata.records import (
    EMPTY_TAIL,
    AccessToken,
    Blob,
    ChunkPart,
    LayoutRecord,
    LayoutStore,
    Manifest,
    NewBlob,
    ServerRecord,
    StoreRecord,
    Upload,
    User,
)
from treescale.oci.digest import digest_of
from treescale.oci.manifests import Reference, ReferenceKind

NOW = 1_700_000_000.0
ACTOR = "cli:tester@here"
APP = "alice/app"
TOKEN_ID = "t1"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"


def digest(number: int) -> str:
    """Return a digest; greater numbers have greater digests."""
    return f"sha256:{number:064x}"


def part(number: int, length: int = 1000) -> ChunkPart:
    """Return a chunk."""
    return number.to_bytes(32, "big"), length


def small(number: int, content: bytes = b"{}") -> NewBlob:
    """Return a blob that is kept inline."""
    return NewBlob(Blob(digest(number), len(content), content, None), ())


def large(number: int, *parts: ChunkPart) -> NewBlob:
    """Return a blob made of chunks; its recipe is told by them."""
    recipe = b"".join(chunk + length.to_bytes(8, "big") for chunk, length in parts)
    return NewBlob(Blob(digest(number), sum(n for _, n in parts), None, recipe), parts)


def ending(new: NewBlob, of: Upload | None = None) -> NewBlob:
    """Return the blob as the end of an upload, one that has just begun unless told."""
    return replace(new, session=(of or upload()).state)


def manifest(
    content: bytes = b"{}", *, subject: str | None = None, artifact_type: str | None = None
) -> Manifest:
    """Return a manifest named by its content."""
    return Manifest(str(digest_of(content)), INDEX_TYPE, content, subject, artifact_type)


def blob_reference(number: int, *, required: bool = True) -> Reference:
    """Return a reference to the blob of this number."""
    return Reference(digest(number), ReferenceKind.BLOB, required)


def upload(upload_id: str = "upload", *, updated: float = NOW) -> Upload:
    """Return a session as it begins."""
    empty = str(digest_of(b"")).removeprefix("sha256:")
    return Upload(
        upload_id, APP, "alice", "sha256", 0, empty, EMPTY_TAIL, created=NOW, updated=updated
    )


def user(name: str = "alice") -> User:
    """Return an account."""
    return User(name, "$argon2id$x", admin=False, created=NOW)


def access_token(
    token_id: str = TOKEN_ID, *, name: str = "alice", created: float = NOW
) -> AccessToken:
    """Return an access token; its secret is its id."""
    return AccessToken(
        token_id=token_id,
        user=name,
        label="laptop",
        secret_sha256=f"secret of {token_id}",
        allow=frozenset({"pull", "push"}),
        repository="alice/*",
        created=created,
        expires=None,
        last_used=None,
    )


def server(server_id: str) -> ServerRecord:
    """Return a server of this id, with an address of its own."""
    return ServerRecord(
        server_id, f"name-{server_id}", f"http://{server_id}:5000", "zone", started=NOW
    )


def store(store_id: str, server_id: str) -> StoreRecord:
    """Return a store of this server."""
    return StoreRecord(
        store_id, f"name-{server_id}", "/data", "zone", 1.0, NOW, server_id=server_id
    )


def layout(number: int, *store_ids: str) -> LayoutRecord:
    """Return a layout of these stores, each on a server of its own."""
    stores = tuple(LayoutStore(name, f"on-{name}", "zone", 1.0) for name in store_ids)
    return LayoutRecord(number, stores, 2, created=NOW)

"""Blobs whose rows go piece by piece: the statements of whoever takes them away (R23)."""

from typing import Any, Final

from sqlalchemy import BindParameter, bindparam, delete, select

from treescale.metadata.schema import blob_chunks, blobs

CHUNKS_AT_ONCE: Final = 250

_THESE: Final[BindParameter[Any]] = bindparam("these", expanding=True)

HOLD_BLOBS: Final = (
    select(blobs.c.blob_id)
    .where(blobs.c.blob_id.in_(_THESE))
    .order_by(blobs.c.blob_id)
    .with_for_update(skip_locked=True)
)
PIECE: Final = (
    select(blob_chunks.c.chunk)
    .where(blob_chunks.c.blob_id == bindparam("blob"))
    .order_by(blob_chunks.c.chunk)
    .limit(CHUNKS_AT_ONCE)
)
DROP_PIECE: Final = delete(blob_chunks).where(
    blob_chunks.c.blob_id == bindparam("blob"), blob_chunks.c.chunk.in_(_THESE)
)
DROP_BLOB: Final = delete(blobs).where(blobs.c.blob_id == bindparam("blob"))

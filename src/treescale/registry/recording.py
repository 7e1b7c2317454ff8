"""When a push records what it has put, and where: in its upload's row, or in a session of its own.

A put is a lease, and a row must name the chunk before that ends (collection.md R5, R6).
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Self

from treescale.chunks.stream.writer import Flushed
from treescale.clock import Clock
from treescale.errors import DatabaseUnavailable, UploadUnknown
from treescale.lease_times import CHECKPOINT_BYTES, LeaseTimes
from treescale.metadata.records import EMPTY_TAIL, Base, ChunkPart, Upload, UploadProgress
from treescale.metadata.uploads import Uploads


class Checkpoint:
    """When a long request has to write down how far it has come.

    Each time all that is on its way has to arrive, and the wires run dry meanwhile.
    """

    def __init__(self, clock: Clock, lease: float) -> None:
        self._clock = clock
        self._times = LeaseTimes(lease)
        self._bytes = 0
        self._at = 0.0
        self.done()

    def after(self, size: int) -> bool:
        """Say whether it is time, with so many bytes more."""
        self._bytes += size
        return self._bytes >= CHECKPOINT_BYTES or self._clock.monotonic() >= self._at

    def done(self) -> None:
        """Begin to count anew."""
        self._bytes, self._at = 0, self._clock.monotonic() + self._times.checkpoint

    def again(self) -> None:
        """Try again soon."""
        self._bytes, self._at = 0, self._clock.monotonic() + self._times.checkpoint_again


class Notes:
    """A session of its own for what a request puts that its upload must not have yet.

    An async context manager: it ends with the request, or with the commit that follows.
    """

    def __init__(self, uploads: Uploads, fresh: Callable[[], Upload], clock: Clock) -> None:
        self._uploads = uploads
        self._fresh = fresh
        self._clock = clock
        self._upload: Upload | None = None
        self._kept = False
        self.settled: list[ChunkPart] = []

    async def __aenter__(self) -> Self:
        """Begin."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Forget them: rows name the chunks, or nobody needs them. What stays expires."""
        if self._upload is not None and not self._kept:
            with suppress(UploadUnknown, DatabaseUnavailable):
                await self._uploads.delete(self._upload.upload_id)

    def keep(self) -> str | None:
        """Leave it to the commit to end them; return what they are called, None without any."""
        self._kept = True
        return None if self._upload is None else self._upload.upload_id

    async def record(self, flushed: Flushed, base: Base, layout: int | None) -> Base:
        """Name the chunks; return the next base. Raises NotRecorded, DatabaseUnavailable."""
        if self._upload is None:
            fresh = self._fresh()
            await self._uploads.create(fresh)
            self._upload = fresh
        upload = self._upload
        progress = UploadProgress(
            from_offset=upload.offset,
            offset=upload.offset + sum(length for _, length in flushed.settled),
            hashed=upload.hashed,
            settled=tuple(flushed.settled),
            tail=EMPTY_TAIL,
            owed=tuple(flushed.owed),
            layout=layout,
            base=base,
        )
        following = await self._uploads.advance(upload.upload_id, progress, now=self._clock.now())
        self._upload = replace(upload, offset=progress.offset)
        self.settled += flushed.settled
        return following

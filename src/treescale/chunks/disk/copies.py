"""What the walk asks of a store's files: to keep a copy, to take some away, to read one back.

A trim takes a copy away that nobody needs, and must never take the last: first it looks at the
file's stamp, then every home keeps the chunk, then the file goes if its stamp is still that of the
look. Keeping a copy gives it a new time, and so another stamp. Of two stores that rely on each
other's copies, as two servers with different layouts may, at most one therefore trims
(collection.md R10); the lock between processes makes look and rename one step (R2).
"""

import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from treescale.chunks.disk.contents import AgedCopy, TrashContents
from treescale.chunks.disk.directory import CHUNK_NAME, NO_FILE, ChunkDirectory
from treescale.chunks.disk.syscalls import FILE_FLAGS, Disk
from treescale.chunks.disk.verified import DATED_BACK_NS, FileStamp, stamp_of
from treescale.chunks.store import CHUNK_BYTES_MAX, chunk_id_of
from treescale.clock import Clock
from treescale.errors import ChunkUnknown

_GONE: Final = (FileNotFoundError, NotADirectoryError)


class Copies:
    """The copies in one directory. Blocks; raises StoreUnusable and StoreFull as that does."""

    def __init__(self, directory: ChunkDirectory, clock: Clock, disk: Disk) -> None:
        self._directory = directory
        self._clock = clock
        self._disk = disk

    def keep(self, chunk: bytes) -> bool:
        """Say whether a sound and durable copy is here, whose time is new from now on.

        It is a put whose bytes need not be sent. A bad copy goes to quarantine: False.
        """
        directory = self._directory
        directory.check_healthy()
        path = directory.path_of(chunk)
        with directory.errors.judging(f"asked to keep chunk {chunk.hex()}"):
            try:
                self._renew(path)
            except _GONE:
                return False
            except OSError as error:
                if error.errno not in NO_FILE:
                    raise
                directory.keeps(chunk)  # no file of ours: to quarantine, if it is none at all
                return False
            return directory.keeps(chunk)

    def _renew(self, path: Path) -> None:
        with self._directory.locked(path):
            fd = self._disk.open(path, FILE_FLAGS)
            try:
                self._disk.date(fd, self._disk.now_ns() - DATED_BACK_NS)
            finally:
                self._disk.close(fd)

    def stamps(self, chunks: Sequence[bytes]) -> list[FileStamp | None]:
        """Return the stamp of each chunk's file, None where there is no file."""
        self._directory.label.check()
        with self._directory.errors.judging("asked for chunks"):
            return [self._stamp(self._directory.path_of(chunk)) for chunk in chunks]

    def trim(self, chunk: bytes, stamp: FileStamp) -> bool:
        """Move the chunk to the trash if its file still has this stamp.

        False, and nothing changes, when it has another, or when somebody writes beside it now.
        """
        return bool(self.remove([(chunk, stamp)], lambda: True))

    def delete(self, chunk: bytes) -> None:
        """Move the chunk to the trash as it is now; raises ChunkUnknown.

        Under the lock, and not beside a writer, as every removal (collection.md R2, R4).
        """
        (stamp,) = self.stamps([chunk])
        if stamp is None or not self.trim(chunk, stamp):
            self._directory.check_healthy()
            raise ChunkUnknown(f"no chunk {chunk.hex()} that could be deleted")

    def aged(self, chunks: Sequence[bytes]) -> list[AgedCopy]:
        """Return those that are here, with what their age is by the store's clock."""
        now = self._disk.now_ns()
        return [
            AgedCopy(chunk, stamp, (now - stamp[3]) / 1e9)
            for chunk, stamp in zip(chunks, self.stamps(chunks), strict=True)
            if stamp is not None
        ]

    def remove(
        self, copies: Iterable[tuple[bytes, FileStamp]], may: Callable[[], bool]
    ) -> list[bytes]:
        """Move those to the trash whose files still have these stamps; return which.

        `may` is asked once more before each, under the lock (collection.md R4, R8): False ends it.
        A file beside which somebody writes now stays. The trash is synced once: after a power cut
        each of them is there, or where it was. The directories they were in are not synced: one
        that comes back is found and moved again, and each sync holds up the pushes beside it.
        """
        directory, gone = self._directory, list[bytes]()
        directory.check_healthy()
        with directory.errors.judging("made to move chunks to its trash"):
            for chunk, stamp in copies:
                moved = self._move(directory.path_of(chunk), directory.trash_of(chunk), stamp, may)
                if moved is None:
                    break
                gone += [chunk] if moved else []
            if gone:
                self._disk.fsync_directory(directory.trash)
        return gone

    def _move(
        self, path: Path, trash: Path, stamp: FileStamp, may: Callable[[], bool]
    ) -> bool | None:
        """Move a file to the trash if it has this stamp; None when nothing may be moved now."""
        try:
            with self._directory.locked(path, alone=True):
                if self._stamp(path) != stamp:
                    return False
                if not may():
                    return None
                self._disk.rename(path, trash)
        except (*_GONE, BlockingIOError):
            return False
        self._disk.touch(trash, self._clock.now())
        return True

    def in_trash(self, chunk: bytes) -> bool:
        """Say whether the chunk lies in the trash."""
        with self._directory.errors.judging("asked for its trash"):
            return self._stamp(self._directory.trash_of(chunk)) is not None

    def restore(self, chunk: bytes) -> bool:
        """Bring the chunk back from the trash, durably, as if it was put now; say if it was there.

        A bad one stays there: False. Where there is a file already, only that one is left.
        """
        directory = self._directory
        directory.check_healthy()
        trash = directory.trash_of(chunk)
        with directory.errors.judging(f"made to bring back chunk {chunk.hex()}"):
            try:
                data = self._disk.read_past_cache(trash, CHUNK_BYTES_MAX + 1)
            except _GONE:
                return False
        if chunk_id_of(data) != chunk:
            return False
        directory.put(chunk, data)
        self.drop(chunk)
        return True

    def read_back(self, chunk: bytes) -> int:
        """Hash what the disk has of the chunk, whatever is in memory; return how many bytes.

        What is in the kernel's memory stays there, and nothing else comes into it. Raises Corrupt
        after quarantining a bad copy, and ChunkUnknown.
        """
        path = self._directory.path_of(chunk)
        with self._directory.errors.judging(f"read for chunk {chunk.hex()}"):
            try:
                data = self._disk.read_past_cache(path, CHUNK_BYTES_MAX + 1)
                if chunk_id_of(data) == chunk:
                    return len(data)
            except _GONE:
                raise ChunkUnknown(f"{path.parents[3]} has no chunk {chunk.hex()}") from None
            except OSError:  # unreadable, or no file: judged as any read is
                pass
        with suppress(OSError):  # what cannot be opened has no pages to forget
            self._forget_pages(path)
        self._directory.verify(chunk)  # from the disk now: is it bad, or was it read badly?
        return 0

    def trashed(self, before: float, limit: int, after: bytes = b"") -> list[bytes]:
        """Return up to `limit` chunks that were moved to the trash before that time, by id."""
        found: list[bytes] = []
        for chunk, moved, _ in self._in_trash(after):
            if len(found) == limit:
                break
            if moved < before:
                found.append(chunk)
        return found

    def trash(self) -> TrashContents:
        """Return what lies in the trash."""
        entries = [*self._in_trash(b"")]
        return TrashContents(
            len(entries),
            sum(size for *_, size in entries),
            max((moved for _, moved, _ in entries), default=0.0),
        )

    def _in_trash(self, after: bytes) -> Iterator[tuple[bytes, float, int]]:
        """Yield each chunk that is there, when it came there, and its bytes; by id."""
        self._directory.label.check()
        trash, first = self._directory.trash, after.hex()
        with self._directory.errors.judging("asked for its trash"):
            for name in sorted(self._disk.listdir(trash)):
                if name > first and CHUNK_NAME.fullmatch(name):
                    with suppress(FileNotFoundError):  # dropped since it was listed
                        found = self._disk.lstat(trash / name)
                        yield bytes.fromhex(name), found.st_mtime, found.st_size

    def drop(self, chunk: bytes) -> None:
        """Remove the chunk from the trash, for good; nothing happens when it is not there."""
        self._directory.check_healthy()
        with self._directory.errors.judging(f"made to drop chunk {chunk.hex()}"), suppress(*_GONE):
            self._disk.unlink(self._directory.trash_of(chunk))

    def erase(self, chunks: Sequence[bytes], may: Callable[[], bool]) -> list[bytes]:
        """Unlink all files of these chunks, durably: also in the trash and in quarantine.

        `may` is asked once more before each, under the lock: False ends it. Return those of which
        nothing is left; a file beside which somebody writes now stays, and what somebody writes.
        """
        directory, gone = self._directory, list[bytes]()
        directory.check_healthy()
        directory.clean_tmp()
        with directory.errors.judging("made to erase chunks"):
            evidence = self._evidence_of({chunk.hex() for chunk in chunks})
            coming = directory.written_now()
            for chunk in chunks:
                if chunk.hex() in coming:
                    continue
                path = directory.path_of(chunk)
                beside = [directory.trash_of(chunk), *evidence.get(chunk.hex(), ())]
                try:
                    with directory.locked(path, alone=True):
                        if not may():
                            break
                        self._unlink([path, *beside])
                except BlockingIOError:
                    continue
                except _GONE:  # there is no such directory
                    if not may():
                        break
                    self._unlink(beside)
                gone.append(chunk)
            parents = {directory.path_of(chunk).parent for chunk in gone}
            for changed in (directory.trash, directory.quarantine, *parents):
                with suppress(*_GONE):  # a directory that never was has nothing to sync
                    self._disk.fsync_directory(changed)
        return gone

    def _evidence_of(self, names: set[str]) -> dict[str, list[Path]]:
        """Return what lies in quarantine of these chunks."""
        found: dict[str, list[Path]] = {}
        for name in self._disk.listdir(self._directory.quarantine):
            chunk = name.partition(".")[0]
            if chunk in names:
                found.setdefault(chunk, []).append(self._directory.quarantine / name)
        return found

    def _unlink(self, paths: Iterable[Path]) -> None:
        for path in paths:
            with suppress(*_GONE, IsADirectoryError):  # gone, or no file of ours
                self._disk.lstat(path)  # a disk that is read-only refuses, also what is not there
                self._disk.unlink(path)

    def clean(self, before: float) -> int:
        """Remove what dead processes left in tmp, and what is in quarantine since before that time.

        Returns how many files. What is in quarantine is dated by its name.
        """
        directory = self._directory
        directory.check_healthy()
        removed, quarantine = directory.clean_tmp(), directory.quarantine
        with directory.errors.judging("cleaned"):
            for name in self._disk.listdir(quarantine):
                when = name.rpartition(".")[2]
                if when.isdecimal() and int(when) < before * 1e9:
                    with suppress(IsADirectoryError, PermissionError, FileNotFoundError):
                        self._disk.unlink(quarantine / name)
                        removed += 1
        return removed

    def _forget_pages(self, path: Path) -> None:
        fd = self._disk.open(path, FILE_FLAGS)
        try:
            self._disk.uncache(fd)
        finally:
            self._disk.close(fd)

    def _stamp(self, path: Path) -> FileStamp | None:
        try:
            found = self._disk.lstat(path)
        except _GONE:
            return None
        return stamp_of(found) if stat.S_ISREG(found.st_mode) else None

"""File systems of a test's own: in memory, or on a loop device over a file in memory."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.functional.programs import run, wait_until

MIB = 1024 * 1024


class Mounts:
    """What a test has mounted below its own directory; all of it goes when the test ends."""

    def __init__(self, below: Path) -> None:
        self._below = below
        self._mounted: list[Path] = []

    def memory(self, name: str, size: int) -> Path:
        """Return a new file system in memory."""
        return self._mount(self._below / name, "-t", "tmpfs", "-o", f"size={size}", "tmpfs")

    def ext4(self, image: Path, name: str, options: str = "commit=300") -> Path:
        """Return the ext4 of an image, mounted; `options` widen the time before it commits."""
        return self._mount(self._below / name, "-o", f"loop,{options}", str(image))

    def remount(self, place: Path, options: str) -> None:
        """Mount it with other options; read-only needs a moment at which nobody writes a file."""
        words = ["mount", "-o", f"remount,{options}", str(place)]
        wait_until(
            f"{place} is {options}", lambda: subprocess.run(words, check=False).returncode == 0
        )

    def unmount(self, place: Path, *, lazily: bool = False) -> None:
        """Unmount it; `lazily` also under those who use it."""
        run("umount", *(["-l"] if lazily else []), place)
        self._mounted.remove(place)

    def unmount_all(self) -> None:
        """Unmount everything, the last one first."""
        while self._mounted:
            self.unmount(self._mounted[-1], lazily=True)

    def _mount(self, place: Path, *how: str) -> Path:
        place.mkdir(parents=True, exist_ok=True)
        run("mount", *how, place)
        self._mounted.append(place)
        return place


def make_ext4(image: Path, size: int, *, inodes: int | None = None) -> Path:
    """Make a sparse file of this size an ext4."""
    with image.open("wb") as file:
        file.truncate(size)
    few = ["-N", str(inodes)] if inodes else []
    run("mkfs.ext4", "-q", "-F", *few, image)
    return image


def copy_image(image: Path, to: Path) -> Path:
    """Copy an image; what was never written takes no room in the copy either."""
    run("cp", "--sparse=always", image, to)
    return to


@contextmanager
def filled(place: Path, leave: int) -> Iterator[Path]:
    """Fill a file system until only `leave` bytes are free; make room again at the end."""
    filler = place / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(place).free - leave)
    try:
        yield filler
    finally:
        filler.unlink(missing_ok=True)

"""What a process keeps of its memory, and what it gives back.

Memory of one batch is used again for the next, instead of going back to the kernel.
Batches and chunks are buffers of some MiB that live for milliseconds. The C library returns such to
the kernel when they are freed, and every page of the next one is then a fault and zeroed again:
some 100,000 faults for each GB pushed (docs/performance.md).
"""

import ctypes
import mmap
from contextlib import suppress
from pathlib import Path
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
"""From <malloc.h>."""

KEPT_BYTES_MAX: Final = 32 * 1024 * 1024
"""So much freed memory a process keeps at its heap's end; more than its batches in flight need."""
MAPPED_BYTES_MIN: Final = 32 * 1024 * 1024
"""Only longer buffers than any of ours are mapped, and unmapped, each by itself; glibc's limit."""


def keep_freed_memory() -> bool:
    """Have this process keep what it frees, within bounds; False where the C library cannot.

    For a process that has had no threads yet, and for all that are forked of it: their later ones
    share one heap, so that the bound is the process's and a buffer freed by one thread serves the
    next, in whichever thread. Heaps of threads that there were before a fork would be used again,
    whatever is asked for after it: each keeps buffers of its own.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # not glibc
        return False
    wanted = (
        (_M_ARENA_MAX, 1),
        (_M_MMAP_THRESHOLD, MAPPED_BYTES_MIN),
        (_M_TRIM_THRESHOLD, KEPT_BYTES_MAX),
    )
    taken = [mallopt(option, value) for option, value in wanted]
    return all(taken)


def give_back_memory() -> bool:
    """Give the kernel back what this process needs no more; False where the C library cannot.

    For a supervisor, before its forks share what is left: what was freed during the start, and
    what is mapped of files, libraries above all, most of which only their import read. What is
    needed of that after all comes from the page cache, where it stays.
    """
    library = ctypes.CDLL(None)
    if getattr(library, "malloc_trim", None) is None:  # not glibc
        return False
    mapped = _mapped_files()
    library.malloc_trim(0)
    for begin, end in mapped:
        # Never written to, so nothing is lost by it.
        library.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), mmap.MADV_DONTNEED)
    return True


def _mapped_files() -> list[tuple[int, int]]:
    """Return where files are mapped to be read or run alone, from begin to end; none without /proc.

    But for what was written to before it became read-only, as addresses in libraries are.
    """
    found, mapped = [], None
    with suppress(OSError), Path("/proc/self/smaps").open() as smaps:
        for words in map(str.split, smaps):
            if not words[0].endswith(":"):
                addresses, mode, _offset, _device, inode, *_ = words
                begin, end = (int(address, 16) for address in addresses.split("-"))
                is_read = mode in {"r--p", "r-xp"} and inode != "0"
                mapped = (begin, end) if is_read else None
            elif words[0] == "Anonymous:" and words[1] == "0" and mapped is not None:
                found.append(mapped)
    return found

"""Memory for the bytes of batches, used again once nobody can see it.

What is lent is a view. Any part of it may be given away, to a store whose thread stays behind on a
disk that hangs, or to a task that was cancelled: the memory is lent again only when the last view
of it is gone, which the interpreter tells by counting references. So whoever has a view can rely
on its bytes, and nobody has to say when he is done.

It is mapped apart from the heap, which long-lived small objects would keep from shrinking; what is
not touched of it costs nothing.
"""

import ctypes
import mmap
import weakref
from collections import deque
from functools import lru_cache
from typing import Final

FREE_BUFFERS_MAX: Final = 8
"""So many a process keeps while they are not lent: fresh pages cost more than a copy. One upload
has no more on their way, and many have theirs lent most of the time."""


class BufferPool:
    """Buffers of one length at a time; lent in one thread, given back in any."""

    def __init__(self, free_max: int = FREE_BUFFERS_MAX) -> None:
        self._free_max = free_max
        self._free: deque[mmap.mmap] = deque()

    @property
    def free(self) -> int:
        """Return how many buffers wait to be lent."""
        return len(self._free)

    def lend(self, size: int, *, seldom: int = 0) -> memoryview:
        """Return so many bytes, which may hold anything.

        The first `seldom` of them, if they were touched, are given back to the kernel afterwards.
        """
        memory = self._free_of(size) or mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        lent = _lent(size).from_buffer(memory)
        weakref.finalize(lent, self._take_back, memory, seldom).atexit = False
        return memoryview(lent).cast("B")

    def clear(self) -> None:
        """Give the memory of all that wait to be lent back to the kernel."""
        self._free.clear()

    def _free_of(self, size: int) -> mmap.mmap | None:
        """Return one that is free, letting go of those of another length."""
        while self._free:
            memory = self._free.pop()
            if len(memory) == size:
                return memory
        return None

    def _take_back(self, memory: mmap.mmap, seldom: int) -> None:
        if len(self._free) < self._free_max:
            if seldom:
                memory.madvise(mmap.MADV_DONTNEED, 0, seldom)
            self._free.append(memory)


@lru_cache(maxsize=8)
def _lent(size: int) -> type[ctypes.Array[ctypes.c_ubyte]]:
    """Return what memory of this length is lent as: an object that all views of it hold on to."""
    return type("Lent", (ctypes.Array,), {"_type_": ctypes.c_ubyte, "_length_": size})

"""The memory of a server's processes."""

from pathlib import Path
from typing import Final

from tests.functional.server import Options, Server

HEAP_BYTES: Final = 64 << 20
"""glibc reserves so much for each heap of a thread, at a multiple of it."""


def heaps_of_threads(pid: int) -> int:
    """Return how many heaps a process has beside the one that all of its threads may share."""
    found, begun = 0, 0
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        addresses, mode, *_, inode = line.split()[:5]
        begin, end = (int(address, 16) for address in addresses.split("-"))
        if mode == "rw-p" and inode == "0" and begin % HEAP_BYTES == 0:
            begun = begin
        found += mode == "---p" and end - begun == HEAP_BYTES
    return found


def test_the_threads_of_a_process_share_one_heap(tmp_path: Path) -> None:
    """Also those that the start had: each heap would keep up to 32 MiB of freed buffers."""
    server = Server(tmp_path, Options(workers=2)).start()
    pid = server.program.pid
    workers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    assert len(workers) == 2
    assert [heaps_of_threads(int(each)) for each in workers] == [0, 0]
    server.stop()

"""Allocation: buffers that come and go cost page faults only the first time."""

import ctypes
import subprocess
import sys

import pytest

from treescale.server.processes.allocation import give_back_memory, keep_freed_memory

ROUNDS, BUFFERS, SIZE, PAGE = 20, 3, 4 << 20, 4096
PROGRAM = f"""
import resource, threading
from treescale.server.processes.allocation import keep_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def push():
    for _ in range({ROUNDS}):
        batches = [b"x" * {SIZE} for _ in range({BUFFERS})]

def in_thread():
    thread = threading.Thread(target=push)
    thread.start()
    thread.join()

KEEP
in_thread()
before = faults()
in_thread()
print(faults() - before)
"""


def faults_of(first: str) -> int:
    """Return the page faults of a thread that frees and fills buffers after another has."""
    program = PROGRAM.replace("KEEP", first)
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, timeout=60
    )
    return int(done.stdout)


def test_freed_buffers_are_used_again_by_other_threads() -> None:
    pages = ROUNDS * BUFFERS * SIZE // PAGE
    assert faults_of("assert keep_freed_memory()") < pages / 50
    assert faults_of("pass") > pages / 10  # what it is for: without it, most pages fault again


class _OtherLibrary:
    """A C library without mallopt."""


def test_another_c_library_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: _OtherLibrary())
    assert not keep_freed_memory()
    assert not give_back_memory()


HELD = """
from treescale.server.processes.allocation import give_back_memory

def kilobytes():
    with open("/proc/self/smaps_rollup") as file:
        return {line.split()[0]: int(line.split()[1]) for line in list(file)[1:]}["Rss:"]

buffers = [b"x" * 100_000 for _ in range(100)]
last = b"y" * 100_000  # above them: what is freed below it is no end of the heap
del buffers
before = kilobytes()
DO
print(before - kilobytes())
"""


@pytest.mark.parametrize(("does", "given_back"), [("assert give_back_memory()", True), ("", False)])
def test_what_the_start_freed_is_given_back(does: str, *, given_back: bool) -> None:
    program = HELD.replace("DO", does)
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, timeout=60
    )
    assert (int(done.stdout) > 9_000) == given_back


CODE = """
import ssl, sqlite3, uvloop
from treescale.server.processes import allocation

def kilobytes():
    found, is_read = 0, False
    with open("/proc/self/smaps") as file:
        for words in map(str.split, file):
            if "-" in words[0] and not words[0].endswith(":"):
                is_read = words[1] == "MODE" and words[4] != "0"
            elif words[0] == "Rss:" and is_read:
                found += int(words[1])
    return found

def all_mapped_to_read():
    with open("/proc/self/maps") as file:
        for addresses, mode, _, _, inode, *_ in map(str.split, file):
            if mode == "r--p" and inode != "0":
                yield tuple(int(each, 16) for each in addresses.split("-"))

BEFORE
before = kilobytes()
assert allocation.give_back_memory()
print(kilobytes() / before)
ssl.create_default_context()
"""


def given_back(mode: str, before: str) -> "subprocess.CompletedProcess[bytes]":
    program = CODE.replace("MODE", mode).replace("BEFORE", before)
    return subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, timeout=60
    )


@pytest.mark.parametrize("mode", ["r-xp", "r--p"])
def test_what_only_imports_read_of_files_is_given_back(mode: str) -> None:
    done = given_back(mode, "")
    assert done.returncode == 0
    assert float(done.stdout) < 0.8


@pytest.mark.parametrize("mode", ["r-xp", "r--p"])
def test_control_it_would_stay(mode: str) -> None:
    done = given_back(mode, "allocation._mapped_files = list")
    assert float(done.stdout) >= 0.8


def test_control_what_was_written_to_before_must_stay() -> None:
    """The addresses in libraries: whoever uses them then is killed."""
    done = given_back("r--p", "allocation._mapped_files = lambda: list(all_mapped_to_read())")
    assert done.returncode < 0


HEAPS = """
import ctypes, os, threading
from treescale.server.processes.allocation import keep_freed_memory

library = ctypes.CDLL(None)

def thread():
    thread = threading.Thread(target=lambda: bytearray(2000))
    thread.start()
    thread.join()

STEPS
thread()
child = os.fork()
if child == 0:
    AFTER
    thread()
    library.malloc_info(0, ctypes.c_void_p.in_dll(library, "stdout"))
    library.fflush(None)
    os._exit(0)
os.waitpid(child, 0)
"""


@pytest.mark.parametrize(
    ("before", "after", "heaps"),
    [("keep_freed_memory()", "pass", 1), ("pass", "keep_freed_memory()", 2)],
)
def test_forks_have_one_heap_if_threads_come_later(before: str, after: str, heaps: int) -> None:
    """What a thread of the start has its heap in, a thread of each fork would get."""
    program = HEAPS.replace("STEPS", before).replace("AFTER", after)
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, timeout=60
    )
    assert done.stdout.count(b"<heap nr=") == heaps

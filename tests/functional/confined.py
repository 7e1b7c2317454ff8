"""Run a command as a unit of systemd has it: without capabilities, and with its filter of calls.

For machines whose first process is another. `python confined.py UNIT COMMAND…`, as root: who it
runs as stays the same. What is read of the unit is `SystemCallFilter=` and
`MemoryDenyWriteExecute=`; the filters are made as systemd makes them, by libseccomp.
"""

import ctypes
import errno
import mmap
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

ALLOW: Final = 0x7FFF0000
REFUSE: Final = 0x00050000 | errno.EPERM
MASKED_EQUAL: Final = 7
WRITE_EXECUTE: Final = mmap.PROT_WRITE | mmap.PROT_EXEC


class Comparison(ctypes.Structure):
    """One argument of a call, and what makes a rule match it."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("mask", ctypes.c_uint64),
        ("value", ctypes.c_uint64),
    )


def directives(unit: str, name: str) -> list[str]:
    """Return the values that a unit gives a directive, in order."""
    return re.findall(rf"^{name}=(.*)$", unit, re.MULTILINE)


@cache
def calls_of(group: str) -> frozenset[str]:
    """Return the system calls of a group of systemd's, those of the groups in it included."""
    said = subprocess.check_output(["systemd-analyze", "syscall-filter", group], text=True)
    found: set[str] = set()
    for line in said.splitlines()[1:]:
        word = line.strip()
        if word and not word.startswith("#"):
            found |= calls_of(word) if word.startswith("@") else {word}
    return frozenset(found)


def allowed(filters: list[str]) -> Iterator[str]:
    """Yield the calls that a unit's filters let through."""
    found = set(calls_of("@default"))  # systemd always does
    for words in filters:
        for group in words.removeprefix("~").split():
            found = found - calls_of(group) if words.startswith("~") else found | calls_of(group)
    yield from sorted(found)


def confine(unit: str) -> None:
    """Have this process, and what it becomes, go by the unit's filters from now on."""
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = [ctypes.c_uint32]
    library.seccomp_load.argtypes = [ctypes.c_void_p]
    rule = library.seccomp_rule_add_array
    rule.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p]

    if directives(unit, "MemoryDenyWriteExecute") == ["yes"]:
        writable = library.seccomp_init(ALLOW)
        for name, bits in (("mmap", WRITE_EXECUTE), ("mprotect", mmap.PROT_EXEC)):
            number = library.seccomp_syscall_resolve_name(name.encode())
            comparison = Comparison(2, MASKED_EQUAL, bits, bits)
            assert rule(writable, REFUSE, number, 1, ctypes.byref(comparison)) == 0, name
        assert library.seccomp_load(writable) == 0
    known = library.seccomp_init(REFUSE)
    for name in allowed(directives(unit, "SystemCallFilter")):
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:  # others are another architecture's
            assert rule(known, ALLOW, number, 0, None) == 0, name
    assert library.seccomp_load(known) == 0


if __name__ == "__main__":
    if os.environ.pop("CONFINED", "") == "":  # once more, with nothing that root may
        os.environ["CONFINED"] = "capabilities"
        flags = ("--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")
        os.execvp("setpriv", ["setpriv", *flags, sys.executable, *sys.argv])  # noqa: S606
    confine(Path(sys.argv[1]).read_text(encoding="utf-8"))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606

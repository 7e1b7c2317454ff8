"""Starts `treescale` by forking a process that has imported it: most of a start is its imports.

For what a test starts as it stands, with no other program before it but `nsenter`. Everything else
is started as ever, and so is everything with COLD_STARTS=1 in the environment. test_warm.py holds
both ways against each other.
"""

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Protocol

TREESCALE: Final = Path(sys.executable).with_name("treescale")
IS_COLD: Final = os.environ.get("COLD_STARTS") == "1"
_PARENT: Final = Path(__file__).with_name("warm_parent.py")
_UNBUFFERED: Final = {"PYTHONUNBUFFERED": "1"}
"""What the environment of every server has; what has it not is started as ever."""
_AT_ITS_START: Final = (
    *("PYTHON", "LD_", "LC_", "LANG", "TZ"),
    *("MALLOC", "GLIBC", "OPENSSL_", "AIOHTTP"),
)
"""Variables, by how they begin, that an interpreter or a library reads once."""
_NSENTER: Final = "--net="


class Process(Protocol):
    """What is used of `subprocess.Popen`."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def terminate(self) -> None: ...


def start(
    argv: Sequence[str],
    env: Mapping[str, str],
    *,
    stdin: int,
    output: int,
    errors: int | None = None,
) -> Process:
    """Start a program in a session of its own; without `errors` they are in its output."""
    errors = output if errors is None else errors
    warm = _warm(argv, env)
    if warm is not None:
        return _parent().start(warm, env, [stdin, output, errors])
    return subprocess.Popen(
        argv, env=env, stdin=stdin, stdout=output, stderr=errors, start_new_session=True
    )


def is_warm(argv: Sequence[str], env: Mapping[str, str]) -> bool:
    """Return whether this would be a fork."""
    return _warm(argv, env) is not None


@dataclass(frozen=True)
class _Warm:
    """A command line that a fork can be: of the program, or of a module."""

    argv: list[str]
    original: list[str]
    module: str = ""
    network: str = ""


def _warm(argv: Sequence[str], env: Mapping[str, str]) -> _Warm | None:
    if IS_COLD or not _as_the_parent_has_it(env):
        return None
    network = ""
    if len(argv) > 2 and argv[0] == "nsenter" and argv[1].startswith(_NSENTER):
        network, argv = argv[1].removeprefix(_NSENTER), argv[2:]
    match argv:
        case [program, *words] if program == str(TREESCALE):
            return _Warm([*argv], [sys.executable, program, *words], network=network)
        case [python, "-m", module, *words] if python == sys.executable:
            return _Warm(["-m", *words], [*argv], module, network)
    return None


def _as_the_parent_has_it(env: Mapping[str, str]) -> bool:
    ours = os.environ | _UNBUFFERED
    names = {name for name in {*env, *ours} if name.startswith(_AT_ITS_START)}
    return all(env.get(name) == ours.get(name) for name in names)


class _Forked:
    """A process that somebody else is the parent of, and tells of."""

    def __init__(self, told: int) -> None:
        self._told = told
        self._text = b""
        self._returncode: int | None = None
        while b"\n" not in self._text:
            self._read()
        pid, _, self._text = self._text.partition(b"\n")
        self.pid = int(pid)

    def poll(self) -> int | None:
        """Return its exit status, None while it runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit status once it has ended; as with Popen, minus a signal's number."""
        if self._returncode is None:
            ended = select.poll()  # select itself knows no descriptor above 1,023
            ended.register(self._told, select.POLLIN)
            if not ended.poll(None if timeout is None else timeout * 1000):
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            while not self._text.endswith(b"\n"):
                self._read()
            self._returncode = int(self._text)
            os.close(self._told)
        return self._returncode

    def terminate(self) -> None:
        """Send SIGTERM, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)

    def _read(self) -> None:
        text = os.read(self._told, 100)
        assert text, "the process that is forked has ended"
        self._text += text


class _Parent:
    """The process that is forked; it ends with this one."""

    def __init__(self) -> None:
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, Path(os.devnull).open("wb") as nowhere:
            self._process = subprocess.Popen(
                [sys.executable, str(_PARENT), str(TREESCALE.parent)],
                env=os.environ | _UNBUFFERED,
                stdin=theirs.fileno(),
                stdout=nowhere,
                start_new_session=True,
            )
        atexit.register(self.close)

    def start(self, warm: _Warm, env: Mapping[str, str], standard: Sequence[int]) -> _Forked:
        order = {
            "argv": warm.argv,
            "original": warm.original,
            "module": warm.module,
            "network": warm.network,
            "environment": {**env},
            "directory": str(Path.cwd()),
        }
        told, tells = os.pipe()
        socket.send_fds(self._orders, [json.dumps(order).encode()], [*standard, tells])
        os.close(tells)
        return _Forked(told)

    def close(self) -> None:
        self._orders.close()
        self._process.wait(20)


_STARTING: Final = threading.Lock()


def _parent() -> _Parent:
    """Return the one of this process; servers are started from several threads at once."""
    with _STARTING:
        return _only_one()


@cache
def _only_one() -> _Parent:
    return _Parent()

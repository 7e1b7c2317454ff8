"""The process that has imported treescale and is forked where a test starts the program.

`warm.py` starts it as a script of its own, gives it a socket as standard input, and orders. It has
one thread and does nothing else. An order is a JSON object; with it come the descriptors that the
program has as standard input, output and error, and a pipe. That is told its process id, and its
exit status in the end. Each child leaves `_next` and runs `main`, to the end of an interpreter.
"""

import contextlib
import ctypes
import gc
import json
import os
import runpy
import select
import socket
import sys
from importlib import import_module
from typing import Any, Final

_ORDER_BYTES_MAX: Final = 200_000
_DESCRIPTORS: Final = 4
_CLONE_NEWNET: Final = 0x40000000
_CHILD: Final = 0
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_setns: Final = _LIBC.setns


def _import_all() -> None:
    """Import what any command does; threads that this began would not be there after a fork."""
    from treescale.cli.main import COMMANDS  # noqa: PLC0415  once the path is the program's

    for module, _ in COMMANDS.values():
        import_module(f"treescale.cli.{module.partition(':')[0]}")
    import_module("treescale.metadata.migrations")
    gc.collect()
    gc.freeze()
    assert len(os.listdir("/proc/self/task")) == 1, "to be forked, it has one thread"  # noqa: PTH208


def _next(orders: socket.socket) -> dict[str, Any]:
    """Fork for each order until there are no more; returns in the children alone."""
    running: dict[int, tuple[int, int]] = {}
    poll = select.poll()
    poll.register(orders, select.POLLIN)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor in running:
                poll.unregister(descriptor)
                _tell_end(descriptor, *running.pop(descriptor))
                continue
            words, given, _, _ = socket.recv_fds(orders, _ORDER_BYTES_MAX, _DESCRIPTORS)
            if not words:
                os._exit(0)
            pid = os.fork()
            if pid == _CHILD:
                orders.detach()
                order: dict[str, Any] = json.loads(words)
                _become(order, given)
                return order
            *standard, told = given
            for each in standard:
                os.close(each)
            os.write(told, b"%d\n" % pid)
            ended = os.pidfd_open(pid)
            running[ended] = pid, told
            poll.register(ended, select.POLLIN)


def _tell_end(ended: int, pid: int, told: int) -> None:
    _, status = os.waitpid(pid, 0)
    os.close(ended)
    with contextlib.suppress(BrokenPipeError):  # nobody waits for it any more
        os.write(told, b"%d\n" % os.waitstatus_to_exitcode(status))
    os.close(told)


def _become(order: dict[str, Any], given: list[int]) -> None:
    """Be as the program is just after its start."""
    os.setsid()
    for number, descriptor in enumerate(given[:3]):
        os.dup2(descriptor, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.chdir(order["directory"])
    os.environ.clear()
    os.environ.update(order["environment"])
    if order["network"]:
        namespace = os.open(order["network"], os.O_RDONLY)
        if _setns(namespace, _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns", order["network"])
        os.close(namespace)
    with open("/proc/self/comm", "w") as comm:  # noqa: PTH123  as few imports as can be
        comm.write("python" if order["module"] else "treescale")
    sys.argv = order["argv"]
    sys.orig_argv[:] = order["original"]


if __name__ == "__main__":
    # descriptor 0 becomes the program's: sys.stdin, which is made already, reads that then
    _orders = socket.socket(fileno=os.dup(0))
    sys.path[0] = sys.argv[1]
    _import_all()
    _order = _next(_orders)
    if _order["module"]:
        sys.path[0] = _order["directory"]
        runpy.run_module(_order["module"], run_name="__main__", alter_sys=True)
    else:
        from treescale.cli.main import main

        main()

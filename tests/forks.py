"""Runs tests in processes that are forked once all is collected: `-p tests.forks --forks 3`.

Each process of pytest-xdist imports and collects for itself: seven seconds of a processor. Here
that is done once. Files are handed out whole, big ones in parts; whoever is ready takes the next.
What comes out of each test goes to the first process, which tells of it as ever.
"""

import gc
import json
import os
import selectors
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any, Final, NoReturn

import pytest

TOGETHER_MAX: Final = 60
"""Tests of one file that are handed out at once."""
_NUMBER: Final = 4
_CHILD: Final = 0


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take how many processes there are to be."""
    parser.addoption("--forks", type=int, default=0, help="processes to be forked for the tests")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Run all tests in forks, if that is asked for."""
    forks: int = session.config.getoption("--forks")
    if not forks or session.config.option.collectonly or session.testsfailed:
        return None
    groups = [*_groups(session.items)]
    todo = _queue(len(groups))
    session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]  # one for all
    assert len(os.listdir("/proc/self/task")) == 1, "a fork has no other threads"  # noqa: PTH208
    told: dict[int, str] = {}
    pids: list[int] = []
    for _ in range(min(forks, len(groups))):
        reads, tells = os.pipe()
        pids.append(os.fork())
        if pids[-1] == _CHILD:
            _run(session, groups, todo, tells)
        os.close(tells)
        told[reads] = ""
    with _ended(pids):
        _tell(session, told)
    os.close(todo)
    return True


def _groups(items: Sequence[pytest.Item]) -> Iterator[Sequence[pytest.Item]]:
    for _, of_a_file in groupby(items, lambda item: item.path):
        together = [*of_a_file]
        for first in range(0, len(together), TOGETHER_MAX):
            yield together[first : first + TOGETHER_MAX]


def _queue(count: int) -> int:
    """Return a pipe with so many numbers in it: whoever reads it has one that nobody else has."""
    reads, writes = os.pipe()
    assert os.write(writes, b"".join(number.to_bytes(_NUMBER) for number in range(count)))
    os.close(writes)
    return reads


class _Sender:
    """Takes the place of what prints: sends each report to the first process."""

    def __init__(self, config: pytest.Config, tells: int) -> None:
        self._config = config
        self._file = os.fdopen(tells, "w")

    def send(self, **what: object) -> None:
        self._file.write(json.dumps(what) + "\n")
        self._file.flush()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        hook = self._config.hook.pytest_report_to_serializable
        self.send(report=hook(config=self._config, report=report))


def _run(
    session: pytest.Session, groups: Sequence[Sequence[pytest.Item]], todo: int, tells: int
) -> NoReturn:
    """Run groups until none are left, and end without what only the first process has to do."""
    manager = session.config.pluginmanager
    status = 1
    try:
        capture = manager.getplugin("capturemanager")
        capture.read_global_capture()
        capture.stop_global_capturing()
        capture.start_global_capturing()  # into files of its own
        manager.unregister(name="terminalreporter")
        sender = _Sender(session.config, tells)
        manager.register(sender)
        ours = (groups[int.from_bytes(word)] for word in iter(lambda: os.read(todo, _NUMBER), b""))
        items = (item for group in ours for item in group)
        item = next(items, None)
        while item is not None:
            then = next(items, None)
            sender.send(begun=item.nodeid)
            session.config.hook.pytest_runtest_protocol(item=item, nextitem=then)
            item = then
        sender.send(unraised=_unraised())
        status = 0
    finally:
        os._exit(status)


def _unraised() -> list[str]:
    """Return what the last tests left that fails when it is collected."""
    found: list[str] = []
    sys.unraisablehook = lambda what: found.append(f"{what.exc_value!r} in {what.object!r}")
    for _ in range(3):
        gc.collect()
    return found


def _tell(session: pytest.Session, told: dict[int, str]) -> None:
    """Tell of what the forks send, until each has said that it is ready."""
    begun: dict[int, str] = dict.fromkeys(told, "its first test")
    with selectors.DefaultSelector() as selector:
        for reads in told:
            selector.register(reads, selectors.EVENT_READ)
        while told:
            for key, _ in selector.select():
                text = os.read(key.fd, 1 << 20)
                if not text:
                    pytest.exit(f"a process ended in {begun[key.fd]}", 3)
                *lines, told[key.fd] = (told[key.fd] + text.decode()).split("\n")
                for line in map(json.loads, lines):
                    begun[key.fd] = line.get("begun", begun[key.fd])
                    if "report" in line:
                        _log(session, line["report"])
                    if "unraised" in line:
                        assert line["unraised"] == [], "left by the last tests of a process"
                        selector.unregister(key.fd)
                        os.close(key.fd)
                        del told[key.fd]


def _log(session: pytest.Session, data: dict[str, Any]) -> None:
    config = session.config
    for name in ("longrepr", "location"):
        if isinstance(data.get(name), list):  # of JSON: it was a tuple
            data[name] = tuple(data[name])
    report = config.hook.pytest_report_from_serializable(config=config, data=data)
    config.hook.pytest_runtest_logreport(report=report)
    if session.shouldfail:
        raise session.Failed(session.shouldfail)


@contextmanager
def _ended(pids: Sequence[int]) -> Iterator[None]:
    """Wait for all forks in the end; when something is wrong, end them."""
    try:
        yield
    except BaseException:
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        raise
    finally:
        for pid in pids:
            os.waitpid(pid, 0)

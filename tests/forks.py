"""Runs tests in processes that are forked once all is collected: `-p tests.forks --forks 3`.

Each process of pytest-xdist imports and collects for itself: seven seconds of a processor. Here
that is done once, and so is what most tests make first. Files are handed out whole, big ones in
parts, to whoever is ready: first what is marked `early`, and preferably what needs something that
this process has running for all its tests already, such as a cluster. What comes out of each test
goes to the first process, which tells of it as ever.
"""

import gc
import inspect
import json
import os
import select
import selectors
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final, NoReturn

import pytest

from tests.beforehand import make_beforehand

TOGETHER_MAX: Final = 60
"""Tests of one file that are handed out at once."""
EARLY: Final = "early"
_NUMBER: Final = 4
_CHILD: Final = 0


@dataclass(frozen=True)
class Group:
    """Tests that are handed out at once."""

    items: Sequence[pytest.Item]
    early: bool
    """Whether they take so long that they must not be begun last."""
    needs: frozenset[str]
    """The fixtures of theirs that last until the process ends."""


@dataclass
class _Fork:
    """A process that runs tests, as the first one knows it."""

    pid: int
    orders: int | None
    """Where it reads which group is its next; None once it was told that there is none."""
    has: set[str] = field(default_factory=set)
    begun: str = "its first test"
    text: str = ""
    """Of what it tells, the line that is not whole yet."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take how many processes there are to be."""
    parser.addoption("--forks", type=int, default=0, help="processes to be forked for the tests")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Run all tests in forks, if that is asked for."""
    count: int = session.config.getoption("--forks")
    if not count or session.config.option.collectonly or session.testsfailed:
        return None
    make_beforehand(len(session.items))
    groups = [*_groups(session.items)]
    session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]  # one for all
    assert len(os.listdir("/proc/self/task")) == 1, "a fork has no other threads"  # noqa: PTH208
    forks: dict[int, _Fork] = {}
    for _ in range(min(count, len(groups))):
        (reads, tells), (ordered, orders) = os.pipe(), os.pipe()
        pid = os.fork()
        if pid == _CHILD:
            for descriptor in (reads, orders, *forks, *_orders(forks)):
                os.close(descriptor)  # the others are to hear it when the first process is gone
            _run(session, groups, ordered, tells)
        os.close(tells)
        os.close(ordered)
        forks[reads] = _Fork(pid, orders)
    with _ended(forks):
        _tell(session, forks, dict(enumerate(groups)))
    return True


def _orders(forks: Mapping[int, _Fork]) -> list[int]:
    return [fork.orders for fork in forks.values() if fork.orders is not None]


def _groups(items: Sequence[pytest.Item]) -> Iterator[Group]:
    for _, of_a_file in groupby(items, lambda item: item.path):
        together = [*of_a_file]
        early = any(item.get_closest_marker(EARLY) for item in together)
        apart = early and not any(_lasting(item, "module") for item in together)
        size = 1 if apart else TOGETHER_MAX
        for first in range(0, len(together), size):
            part = together[first : first + size]
            needs = frozenset().union(*(_lasting(item, "session", with_end=True) for item in part))
            yield Group(part, any(item.get_closest_marker(EARLY) for item in part), needs)


def _lasting(item: pytest.Item, scope: str, *, with_end: bool = False) -> set[str]:
    """Return the fixtures of a test that last so long; but those of plugins."""
    if not isinstance(item, pytest.Function):
        return set()
    return {
        name
        for name, (*_, used) in item._fixtureinfo.name2fixturedefs.items()
        if used.scope == scope
        and name[0] != "_"
        and (not with_end or inspect.isgeneratorfunction(used.func))
    }


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


def _run(session: pytest.Session, groups: Sequence[Group], ordered: int, tells: int) -> NoReturn:
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
        for item, then in _given(session, groups, sender, ordered):
            sender.send(begun=item.nodeid)
            session.config.hook.pytest_runtest_protocol(item=item, nextitem=then)
        sender.send(left=[*_torn_down(session), *_unraised()])
        status = 0
    except BaseException:  # noqa: BLE001  nobody listens any more, or the first one hears of the end
        _torn_down(session)
    finally:
        os._exit(status)


def _given(
    session: pytest.Session, groups: Sequence[Group], sender: _Sender, ordered: int
) -> Iterator[tuple[pytest.Item, pytest.Item | pytest.Session]]:
    """Yield each test, and what comes after it; ends when the first process has no more.

    Which group is the next is not known yet at the end of one: what lasts for the session is kept.
    """
    while True:
        sender.send(ready=True)
        word = os.read(ordered, _NUMBER)
        if not word:
            return
        items = groups[int.from_bytes(word)].items
        nexts: list[pytest.Item | pytest.Session] = [*items[1:], session]
        for item, then in zip(items, nexts, strict=True):
            yield item, then
            if select.select([ordered], [], [], 0)[0]:
                return  # nothing is ordered unasked: the run has come to its end


def _torn_down(session: pytest.Session) -> list[str]:
    """End what lasted for the session; return what went wrong."""
    try:
        session._setupstate.teardown_exact(None)
    except BaseException:  # noqa: BLE001  told in the first process, which fails of it
        return [traceback.format_exc()]
    return []


def _unraised() -> list[str]:
    """Return what the last tests left that fails when it is collected."""
    found: list[str] = []
    sys.unraisablehook = lambda what: found.append(f"{what.exc_value!r} in {what.object!r}")
    for _ in range(3):
        gc.collect()
    return found


def _tell(session: pytest.Session, forks: Mapping[int, _Fork], todo: dict[int, Group]) -> None:
    """Hand out all groups, and tell of what the forks send, until each has said that it ends."""
    running, left = {**forks}, list[str]()
    with selectors.DefaultSelector() as selector:
        for reads in forks:
            selector.register(reads, selectors.EVENT_READ)
        while running:
            for key, _ in selector.select():
                fork = forks[key.fd]
                for line in _lines(key.fd, fork):
                    fork.begun = line.get("begun", fork.begun)
                    if "report" in line:
                        _log(session, line["report"])
                    if "ready" in line:
                        _give(todo, fork, [*running.values()])
                    if "left" in line:
                        left += line["left"]
                        selector.unregister(key.fd)
                        del running[key.fd]
    if left:
        pytest.exit("left by the last tests of a process:\n" + "\n".join(left), 3)


def _lines(reads: int, fork: _Fork) -> Iterator[dict[str, Any]]:
    text = os.read(reads, 1 << 20)
    if not text:
        pytest.exit(f"a process ended in {fork.begun}", 3)
    *lines, fork.text = (fork.text + text.decode()).split("\n")
    yield from map(json.loads, lines)


def _give(todo: dict[int, Group], fork: _Fork, forks: Sequence[_Fork]) -> None:
    """Give a process its next group, or tell it that there is none."""
    assert fork.orders is not None
    if not todo:
        _tell_the_end(fork)
        return
    elsewhere = frozenset(name for other in forks if other is not fork for name in other.has)
    number = choice(todo, fork.has, elsewhere)
    fork.has |= todo.pop(number).needs
    os.write(fork.orders, number.to_bytes(_NUMBER))


def choice(todo: Mapping[int, Group], here: AbstractSet[str], elsewhere: AbstractSet[str]) -> int:
    """Return which group a process had better take, by what runs in it, and in others, already."""

    def cost(number: int) -> tuple[int, bool, int, int]:
        group = todo[number]
        twice = group.needs & elsewhere - here
        return len(twice), not group.early, -len(group.needs & here), number

    return min(todo, key=cost)


def _tell_the_end(fork: _Fork) -> None:
    if fork.orders is not None:
        os.close(fork.orders)
    fork.orders = None


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
def _ended(forks: Mapping[int, _Fork]) -> Iterator[None]:
    """Wait for all forks in the end; when something is wrong, each ends after its test."""
    try:
        yield
    finally:
        for reads, fork in forks.items():
            os.close(reads)
            _tell_the_end(fork)
        for fork in forks.values():
            os.waitpid(fork.pid, 0)

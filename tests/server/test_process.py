"""What a process sets up for itself, and what it says to people who may be gone."""

import os
import resource
import signal
import sys

import pytest

from treescale.server.processes.process import raise_file_limit, ready_process, teller


def test_the_limit_on_files_is_raised_as_far_as_it_may_be() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    pid = os.fork()
    if pid == 0:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, before[1]))
        raised = raise_file_limit()
        now = resource.getrlimit(resource.RLIMIT_NOFILE)
        os._exit(0 if (raised, now) == (before[1], (before[1], before[1])) else 1)
    assert os.waitpid(pid, 0)[1] == 0


def test_a_limit_that_cannot_be_raised_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, 128))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert raise_file_limit() == 64


def test_a_process_waits_for_its_own_whatever_was_ignored_when_it_started() -> None:
    """As `trap '' CHLD` in a shell, and daemons that want no zombies, have it."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            ready_process()
            if (child := os.fork()) == 0:
                status = 3
            else:
                status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3


@pytest.mark.parametrize("end", ["no reader", "/dev/full"])
def test_people_who_cannot_be_told_end_nothing(end: str) -> None:
    """Not now, and not when what is buffered is written at the end."""
    pid = os.fork()
    if pid == 0:
        if end == "no reader":
            reader, out = os.pipe()
            os.close(reader)
        else:
            out = os.open(end, os.O_WRONLY)
        os.dup2(out, 1)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        tell = teller(print)
        try:
            tell("Log in:")
            tell("  docker login")
            sys.stdout.flush()
            sys.stdout.close()
        except OSError:
            os._exit(1)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


def test_people_who_are_there_are_told() -> None:
    told: list[str] = []
    tell = teller(told.append)
    tell("one")
    tell("two")
    assert told == ["one", "two"]

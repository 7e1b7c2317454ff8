"""The lead of a server: one process has it, and another when that ends."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from treescale.server.processes.leader_lock import LeaderLock


@contextmanager
def taken_elsewhere(lead: LeaderLock) -> Iterator[None]:
    """Have another process take the lead, and end after the block."""
    told, tell = os.pipe()
    wait, release = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(tell, b"1" if lead.acquire() and lead.acquire() else b"0")
        os.read(wait, 1)
        os._exit(0)
    assert os.read(told, 1) == b"1"
    yield
    os.write(release, b"x")
    os.waitpid(pid, 0)
    for fd in (told, tell, wait, release):
        os.close(fd)


def test_the_lead_is_one_process_s_and_falls_to_another_when_that_ends() -> None:
    lead = LeaderLock()
    with taken_elsewhere(lead):
        assert not lead.acquire()
    assert lead.acquire()


def test_the_lead_of_one_that_hangs_dead_is_passed_on() -> None:
    lead = LeaderLock()
    with taken_elsewhere(lead):
        lead.pass_on()
        assert lead.acquire()

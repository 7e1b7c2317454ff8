"""What one process finds out of a disk all of a server know."""

import os

from treescale.chunks.disk.silence import (
    IDLE_SECONDS_MAX,
    PROBE_PAUSE_SECONDS_MIN,
    SILENT_SECONDS,
    Kind,
)
from treescale.chunks.disk.state import DiskState


def in_a_fork(state: DiskState, begun: float, now: float) -> None:
    """Have another process find the disk silent to writes, and failed."""
    child = os.fork()
    if child == 0:
        state.waits(Kind.WRITE, begun, now)
        state.fail("it failed in another process")
        os._exit(0)
    os.waitpid(child, 0)


def test_what_a_fork_finds_out_is_known_here() -> None:
    state = DiskState()
    assert (state.is_well, state.trouble, state.failed, state.unwritable) == (True, "", "", "")
    in_a_fork(state, 100.0, 100.0 + SILENT_SECONDS[Kind.WRITE])
    assert not state.is_well
    assert state.is_silent(Kind.WRITE)
    assert not state.is_silent(Kind.READ)
    assert "writes" in state.trouble
    assert state.unwritable == "a disk hangs"
    state.probed(200.0)
    assert state.is_well
    assert state.failed == state.trouble == "it failed in another process"
    assert state.unwritable == "a disk has failed"


def test_a_disk_that_answers_others_is_not_silent() -> None:
    state, limit = DiskState(), SILENT_SECONDS[Kind.READ]
    state.answered(Kind.READ, 100.0)
    assert not state.waits(Kind.READ, 50.0, 100.0 + limit - 0.1)
    state.answered(Kind.WRITE, 100.0 + limit - 0.1)
    assert state.waits(Kind.READ, 50.0, 100.0 + limit)
    assert not state.waits(Kind.READ, 50.0, 101.0 + limit), "that is no news"


def test_one_worker_probes_at_a_time_with_growing_pauses_and_at_once_when_it_answers() -> None:
    state = DiskState()
    now = 100.0 + SILENT_SECONDS[Kind.WRITE]
    state.waits(Kind.WRITE, 100.0, now)
    assert not state.claim_probe(now)
    now += PROBE_PAUSE_SECONDS_MIN
    assert state.claim_probe(now)
    assert not state.claim_probe(now), "another worker has claimed it"
    now += PROBE_PAUSE_SECONDS_MIN
    assert state.claim_probe(now)
    assert not state.claim_probe(now + PROBE_PAUSE_SECONDS_MIN)
    state.answered(Kind.WRITE, now + PROBE_PAUSE_SECONDS_MIN)
    assert state.claim_probe(now + PROBE_PAUSE_SECONDS_MIN)


def test_a_disk_nobody_writes_to_is_probed_now_and_then() -> None:
    state = DiskState()
    state.answered(Kind.WRITE, 100.0)
    assert not state.claim_probe(100.0 + IDLE_SECONDS_MAX - 0.1)
    assert state.claim_probe(100.0 + IDLE_SECONDS_MAX)
    assert not state.claim_probe(100.0 + IDLE_SECONDS_MAX)


def test_texts_are_whole_or_cut_and_may_be_taken_back() -> None:
    state = DiskState()
    state.report("€" * 1000)
    assert state.trouble.startswith("€€€")
    assert state.unwritable == "a disk is full or read-only"
    state.report("")
    assert state.trouble == ""


def test_one_that_is_withheld_says_why_and_in_no_word_where() -> None:
    state = DiskState()
    state.withhold("/data: has work to do first")
    assert state.is_well, "it answers"
    assert state.trouble == state.withheld == "/data: has work to do first"
    assert state.unwritable == "a disk is not served from yet"
    state.withhold("")
    assert state.trouble == state.withheld == state.unwritable == ""

"""How far work is that takes long, as people and as logs see it."""

import io
import sys

import pytest

from tests.fakes_disk import JumpingClock
from treescale.cli.terminal.progress import LINE_SECONDS, WorkProgress
from treescale.metadata.records import JobState, StoreJob


def part(done: int, total: int = 4096, moved: int = 0) -> StoreJob:
    return StoreJob("j", "s", "verify", JobState.RUNNING, done, total, moved, "", "", 0.0, 0.0)


class Terminal(io.StringIO):
    """Somebody reads along."""

    def isatty(self) -> bool:
        return True


def test_a_log_gets_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    clock = JumpingClock()
    with WorkProgress("Verifying", clock, quiet=False) as progress:
        progress.show([part(0)])
        clock.seconds += LINE_SECONDS
        progress.show([part(1024, moved=60_000_000), part(0, total=0)])
        progress.show([part(2048)])
        progress.say("s3 does not answer.")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["Verifying: 12 %, 60 MB, 2 MB/s", "s3 does not answer."]


def test_scripts_hear_only_what_is_out_of_the_ordinary(capsys: pytest.CaptureFixture[str]) -> None:
    clock = JumpingClock()
    with WorkProgress("Verifying", clock, quiet=True) as progress:
        clock.seconds += LINE_SECONDS
        progress.show([part(1024)])
        progress.say("s3 does not answer.")
    assert capsys.readouterr().err.splitlines() == ["s3 does not answer."]


def test_people_see_a_bar_with_bytes_and_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, clock = Terminal(), JumpingClock()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "100")
    with WorkProgress("Verifying", clock, quiet=False) as progress:
        progress.show([part(0)])
        for _ in range(8):
            clock.seconds += 1
            progress.show([part(2048, moved=int(clock.seconds - 1_700_000_000) * 3_000_000)])
        progress.say("s3 does not [answer].")
    shown = terminal.getvalue()
    assert "Verifying" in shown
    assert "24 MB, 3 MB/s" in shown
    assert "50%" in shown
    assert "s3 does not [answer]." in shown


def test_rows_are_counted_with_and_without_an_end(capsys: pytest.CaptureFixture[str]) -> None:
    clock = JumpingClock()
    for total, percent in ((None, ""), (4_000_000, "25 %, ")):
        with WorkProgress("Backing up", clock, quiet=False) as progress:
            progress.rows(0, 0, total)
            clock.seconds += LINE_SECONDS
            progress.rows(2_000, 1_000_000, total)
        said = f"Backing up: {percent}2,000 rows, 1 MB, 33.3 kB/s\n"
        assert capsys.readouterr().err == said

"""All looks are done, whatever becomes of one; none is waited for beyond its time."""

import os
import signal

from treescale.cli.doctor.finding import (
    EXIT_STATUS,
    Finding,
    Look,
    State,
    failure,
    fine,
    look_at_all,
    warning,
    worst,
)


def broken() -> Finding:
    raise OSError("it is\nbroken")


def test_one_that_fails_keeps_no_other_from_being_done() -> None:
    first, last = fine("a", "well"), warning("c", "so", "do")
    found = look_at_all(
        [Look("a", lambda: first), Look("b", broken), Look("c", lambda: [last, last])]
    )
    assert [each.name for each in found] == ["a", "b", "c", "c"]
    assert (found[1].state, found[1].found) == (State.FAILURE, "it is broken")
    assert found[1].advice


def test_one_that_hangs_is_given_up_and_told_of() -> None:
    def hang() -> list[Finding]:
        signal.sigwait({signal.SIGUSR1})
        return []

    def crash() -> list[Finding]:
        os.kill(os.getpid(), signal.SIGKILL)
        return []

    found = look_at_all(
        [Look("a", hang, seconds=0.5), Look("b", lambda: fine("b", "")), Look("c", crash)]
    )
    assert (found[0].name, found[0].state) == ("a", State.FAILURE)
    assert "no answer within 0.5 s" in found[0].found
    assert found[1].state is State.OK
    assert (found[2].name, found[2].state) == ("c", State.FAILURE)


def test_the_worst_says_how_the_command_ends() -> None:
    ok, some, bad = fine("a", ""), warning("b", "", "x"), failure("c", "", "x")
    assert [worst(each) for each in ([], [ok], [ok, some], [some, bad, ok])] == [
        State.OK,
        State.OK,
        State.WARNING,
        State.FAILURE,
    ]
    assert EXIT_STATUS == {State.OK: 0, State.WARNING: 3, State.FAILURE: 1}

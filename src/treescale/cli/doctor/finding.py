"""What was found at one look, and what it means for the command as a whole."""

import os
import select
import signal
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec

from treescale.clock import Clock, SystemClock

LOOK_SECONDS_MAX: Final = 10.0
"""For one look; a disk or a name service may hang for ever."""
_CLOCK: Final = SystemClock()


class State(StrEnum):
    """How good it is."""

    OK = "ok"
    WARNING = "warning"
    """It works, and not as it should, or not for long."""
    FAILURE = "failure"
    """A server does not work with it, or loses what it acknowledged."""


EXIT_STATUS: Final = {State.OK: 0, State.WARNING: 3, State.FAILURE: 1}
"""As `fsck` has them: 3 is what should be seen to, 1 what is broken."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A row of the answer; `advice` says what to do, and is empty only where nothing is."""

    name: str
    state: State
    found: str
    advice: str = ""


def fine(name: str, found: str) -> Finding:
    """Return that nothing is wrong."""
    return Finding(name, State.OK, found)


def warning(name: str, found: str, advice: str) -> Finding:
    """Return what should be seen to."""
    return Finding(name, State.WARNING, found, advice)


def failure(name: str, found: str, advice: str) -> Finding:
    """Return what is broken."""
    return Finding(name, State.FAILURE, found, advice)


@dataclass(frozen=True, slots=True)
class Look:
    """Something to look at: it may block, and raise anything."""

    name: str
    work: Callable[[], Finding | Iterable[Finding]]
    seconds: float = LOOK_SECONDS_MAX


def worst(found: Iterable[Finding]) -> State:
    """Return the state of all together."""
    states = {each.state for each in found}
    order = (State.FAILURE, State.WARNING)
    return next((state for state in order if state in states), State.OK)


def look_at_all(looks: Sequence[Look], clock: Clock = _CLOCK) -> list[Finding]:
    """Do all looks at once; return what was found, in order.

    Each in a process of its own. The kernel ends no thread that waits for a disk, and no process
    before its threads: nobody waits for a child, however it hangs.
    """
    begun = clock.monotonic()
    pipes = [_begun(look) for look in looks]
    found: list[Finding] = []
    for look, (child, answer) in zip(looks, pipes, strict=True):
        said = _read(answer, begun + look.seconds, clock)
        os.close(answer)
        if said is None:
            os.kill(child, signal.SIGKILL)
            found.append(
                failure(
                    look.name,
                    f"no answer within {look.seconds:g} s",
                    "what it asks hangs: see that the disk, the network and name servers answer",
                )
            )
        else:
            found += _told(look, said)
        os.waitpid(child, os.WNOHANG)  # its answer is here; its end may take what a disk takes
    return found


def _begun(look: Look) -> tuple[int, int]:
    """Return the process that looks, and where it answers."""
    answer, say = os.pipe()
    child = os.fork()
    if child:
        os.close(say)
        return child, answer
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):  # whoever reads along must not wait for this one
            os.dup2(nothing, standard)
        with os.fdopen(say, "wb") as file:
            file.write(msgspec.json.encode(_looked(look)))
    finally:
        os._exit(0)


def _looked(look: Look) -> list[Finding]:
    """Return what is found; whatever goes wrong is found, and keeps no other from being done."""
    try:
        found = look.work()
        return [found] if isinstance(found, Finding) else list(found)
    except Exception as error:  # noqa: BLE001  it is told as what was found
        why = " ".join(str(error).split()) or type(error).__name__
        return [failure(look.name, why, "see to what is said here; the rest was not looked at")]


def _read(answer: int, end: float, clock: Clock) -> bytes | None:
    """Return what a process says until its end; None when that takes too long."""
    said = b""
    while select.select([answer], [], [], max(0.0, end - clock.monotonic()))[0]:
        piece = os.read(answer, 65_536)
        if not piece:
            return said
        said += piece
    return None


def _told(look: Look, said: bytes) -> list[Finding]:
    """Return what a process has found."""
    try:
        return msgspec.json.decode(said, type=list[Finding])
    except msgspec.DecodeError:
        advice = "look whether the kernel has killed it for want of memory (dmesg)"
        return [failure(look.name, "whoever looked has ended without a word", advice)]

"""How one disk is, in memory that all workers of a server share: to be made before they are forked.

What one worker finds out all know at once: that the disk is silent (`silence`), that it failed and
must not be written to, and what its server last reported of it. Nobody locks: each number is
written whole, and of two workers that write one at the same time either is right. `writable` and
`trouble` are answered from memory alone.
"""

import mmap
from enum import IntEnum
from typing import Final

from treescale.chunks.disk.silence import (
    PROBE_PAUSE_SECONDS_MIN,
    Kind,
    is_probe_due,
    is_silent,
    next_pause,
)

_TEXT_BYTES: Final = 512
_LENGTH_BYTES: Final = 2


class _Number(IntEnum):
    """The numbers, all monotonic seconds; 0 is never."""

    READ_ANSWERED = 0
    WRITE_ANSWERED = 1
    READS_SILENT = 2
    WRITES_SILENT = 3
    PROBE_AT = 4
    PROBE_PAUSE = 5


class _Text(IntEnum):
    """The texts, for people; empty is nothing."""

    FAILED = 0
    TROUBLE = 1
    REFUSED = 2
    WITHHELD = 3


_ANSWERED: Final = (_Number.READ_ANSWERED, _Number.WRITE_ANSWERED)
_SILENT: Final = (_Number.READS_SILENT, _Number.WRITES_SILENT)
_NUMBERS_BYTES: Final = 8 * len(_Number)
_WORDS: Final = ("does not answer reads", "does not answer writes")


class DiskState:
    """One disk, as all workers of its server know it."""

    def __init__(self) -> None:
        memory = mmap.mmap(-1, _NUMBERS_BYTES + len(_Text) * (_LENGTH_BYTES + _TEXT_BYTES))
        self._numbers = memoryview(memory)[:_NUMBERS_BYTES].cast("d")
        self._texts = memoryview(memory)[_NUMBERS_BYTES:]

    def answered(self, kind: Kind, now: float) -> None:
        """Count a call that returned, whatever it returned.

        A write that returns from a disk that is silent to writes has it probed at once.
        """
        self._numbers[_ANSWERED[kind]] = now
        if self._numbers[_SILENT[kind]]:
            self._numbers[_Number.PROBE_AT] = now

    def waits(self, kind: Kind, begun: float, now: float) -> bool:
        """Look at a call that began at `begun` and waits; True when the disk is silent from now."""
        if self.is_silent(kind) or not is_silent(kind, begun, self._numbers[_ANSWERED[kind]], now):
            return False
        self._numbers[_Number.PROBE_PAUSE] = PROBE_PAUSE_SECONDS_MIN
        self._numbers[_Number.PROBE_AT] = now + PROBE_PAUSE_SECONDS_MIN
        self._numbers[_SILENT[kind]] = now
        return True

    def is_silent(self, kind: Kind) -> bool:
        """Say whether calls of this kind are not to be tried."""
        return self._numbers[_SILENT[kind]] > 0.0

    @property
    def is_well(self) -> bool:
        """Say whether it is silent to nothing: if it is, others are asked first."""
        numbers = self._numbers
        return not (numbers[_Number.READS_SILENT] or numbers[_Number.WRITES_SILENT])

    def claim_probe(self, now: float) -> bool:
        """Say whether to probe it now: then no other worker does until the pause is over."""
        numbers = self._numbers
        silent = not self.is_well
        if not is_probe_due(
            now,
            silent=silent,
            probe_at=numbers[_Number.PROBE_AT],
            written=numbers[_Number.WRITE_ANSWERED],
        ):
            return False
        pause = max(PROBE_PAUSE_SECONDS_MIN, numbers[_Number.PROBE_PAUSE])
        numbers[_Number.PROBE_AT] = now + pause
        numbers[_Number.PROBE_PAUSE] = next_pause(pause) if silent else PROBE_PAUSE_SECONDS_MIN
        return True

    def probed(self, now: float) -> None:
        """Count a probe that was answered, whatever the answer: it is silent no more."""
        numbers = self._numbers
        numbers[_Number.READ_ANSWERED] = numbers[_Number.WRITE_ANSWERED] = now
        numbers[_Number.READS_SILENT] = numbers[_Number.WRITES_SILENT] = 0.0
        numbers[_Number.PROBE_PAUSE] = PROBE_PAUSE_SECONDS_MIN

    def fail(self, why: str) -> None:
        """Say that it must not be written to any more, until the server is started anew."""
        self._write(_Text.FAILED, why)

    @property
    def failed(self) -> str:
        """Return why it must not be written to; "" when it may."""
        return self._read(_Text.FAILED)

    def refuse(self, why: str) -> None:
        """Note why the last write or probe was refused; "" when it was not. It is tried again."""
        self._write(_Text.REFUSED, why)

    @property
    def refused(self) -> str:
        """Return why the last write or probe was refused; "" when it was not."""
        return self._read(_Text.REFUSED)

    def withhold(self, why: str) -> None:
        """Have nothing served from it until that is taken back with "": it has work to do first."""
        self._write(_Text.WITHHELD, why)

    @property
    def withheld(self) -> str:
        """Return why nothing is served from it; "" when it is."""
        return self._read(_Text.WITHHELD)

    def report(self, trouble: str) -> None:
        """Note what its server reports of it; "" when all is well."""
        self._write(_Text.TROUBLE, trouble)

    @property
    def trouble(self) -> str:
        """Return what is wrong with it, in words; "" when nothing is known to be."""
        for kind in (Kind.WRITE, Kind.READ):
            if self.is_silent(kind):
                return f"the disk {_WORDS[kind]}: it hangs, or its file system is frozen"
        return self.withheld or self.failed or self.refused or self._read(_Text.TROUBLE)

    @property
    def unwritable(self) -> str:
        """Return why it cannot be written to, without its path; "" when it can."""
        if not self.is_well:
            return "a disk hangs"
        if self.withheld:
            return "a disk is not served from yet"
        if self.failed:
            return "a disk has failed"
        if self.refused:
            return "a disk refuses writes"
        return "a disk is full or read-only" if self._read(_Text.TROUBLE) else ""

    def _read(self, which: _Text) -> str:
        at = which * (_LENGTH_BYTES + _TEXT_BYTES)
        length = int.from_bytes(self._texts[at : at + _LENGTH_BYTES])
        if not length:
            return ""
        text = self._texts[at + _LENGTH_BYTES : at + _LENGTH_BYTES + length]
        return bytes(text).decode(errors="replace")

    def _write(self, which: _Text, text: str) -> None:
        """Write the text, its length last: whoever reads meanwhile gets the old one or a mix."""
        at = which * (_LENGTH_BYTES + _TEXT_BYTES)
        data = text.encode()[:_TEXT_BYTES]
        self._texts[at + _LENGTH_BYTES : at + _LENGTH_BYTES + len(data)] = data
        self._texts[at : at + _LENGTH_BYTES] = len(data).to_bytes(_LENGTH_BYTES)

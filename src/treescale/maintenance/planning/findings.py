"""What a job has found and done at one store, and what that says of the whole. Pure.

A store's findings are the `problems` of its row in `jobs`, as JSON (docs/schema.md).
"""

from collections.abc import Iterable, Sequence
from enum import IntEnum, StrEnum
from typing import Final

import msgspec

CHUNKS_NAMED_MAX: Final = 1000
"""Chunks of each kind that are named; the others are counted."""
REASONS_MAX: Final = 5
GOING_MAX: Final = 200
"""Copies of a store that are named one by one when it is asked what would be collected."""


class Kind(StrEnum):
    """What may be asked of a store."""

    REPAIR = "repair"
    """Look at all partitions now: fetch what is missing, trim what lies elsewhere as well."""
    VERIFY = "verify"
    """The same, and read every copy back."""
    CHECK = "check"
    """Look at the names in all partitions, and do nothing."""
    CHECK_BYTES = "check-bytes"
    """The same, and read every copy back. What is bad goes to quarantine: nobody may be served it,
    and a copy that is missing is one the walk makes anew."""
    COLLECT = "collect"
    """Move to the trash what no row names, and empty the trash of what was there for long."""
    COLLECT_CHECK = "collect-check"
    """Find out what that would be, and take nothing away."""
    COLLECT_RESUME = "collect-resume"
    """Collect also more than a fifth of the store: somebody has looked at what it is."""


class Going(msgspec.Struct, frozen=True, order=True):
    """A copy that no row names; biggest first."""

    size: int
    """Bytes."""
    chunk: str
    store: str
    age: int
    """Seconds since its last put."""


class Findings(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Copies and partitions of one store, or of all."""

    held: int = 0
    """Copies that lie where they belong, and that rows name."""
    missing: int = 0
    """Copies that the store should have and has not."""
    missing_bytes: int = 0
    surplus: int = 0
    """Copies that belong elsewhere."""
    surplus_bytes: int = 0
    unnamed: int = 0
    """Copies of chunks that no row names: of a push under way, or of one that broke off."""
    read: int = 0
    """Copies whose bytes were read back."""
    rotten: int = 0
    """Copies whose bytes were wrong."""
    lost: int = 0
    """Chunks of which every store has said that it has no good copy."""
    unfound: int = 0
    """Chunks that nobody who could be asked has, while not everybody could be."""
    fetched: int = 0
    given: int = 0
    """Copies that were put on other homes, which could not fetch them."""
    trimmed: int = 0
    unlooked: int = 0
    """Partitions that could not be looked at."""
    looked: int = 0
    """Copies that collection has looked at."""
    orphans: int = 0
    """Copies that no row names, and whose lease is over."""
    orphan_bytes: int = 0
    waiting: int = 0
    """Copies that no blob names, and whose lease runs."""
    waiting_bytes: int = 0
    removed: int = 0
    """Orphans that were moved to the trash."""
    removed_bytes: int = 0
    dropped: int = 0
    """Chunks that were in the trash, and are gone for good."""
    paused: int = 0
    """Stores that take nothing away now; the reasons say why."""
    going: list[Going] = msgspec.field(default_factory=list)
    """The biggest orphans."""
    rotten_chunks: list[str] = msgspec.field(default_factory=list)
    lost_chunks: list[str] = msgspec.field(default_factory=list)
    unfound_chunks: list[str] = msgspec.field(default_factory=list)
    reasons: list[str] = msgspec.field(default_factory=list)
    """Why something could not be done or looked at."""

    def note_rotten(self, chunk: bytes) -> None:
        """Count a copy whose bytes were wrong."""
        self.rotten += 1
        _name(self.rotten_chunks, chunk)

    def note_lost(self, chunk: bytes) -> None:
        """Count a chunk of which there is no good copy."""
        self.lost += 1
        _name(self.lost_chunks, chunk)

    def note_unfound(self, chunk: bytes) -> None:
        """Count a chunk of which nobody knows whether there is one."""
        self.unfound += 1
        _name(self.unfound_chunks, chunk)

    def note_reason(self, reason: str) -> None:
        """Note why something could not be done, once."""
        if reason and reason not in self.reasons and len(self.reasons) < REASONS_MAX:
            self.reasons.append(reason)

    @property
    def is_whole(self) -> bool:
        """Say whether nothing is wrong; copies that lie elsewhere as well are no fault."""
        return not (self.missing or self.rotten or self.lost or self.unfound or self.unlooked)


class Verdict(IntEnum):
    """What is said of the whole; the numbers are exit statuses."""

    WHOLE = 0
    LOST = 1
    """Something is lost or rotten."""
    UNDER_REPLICATED = 3
    """Everything is there, as far as is known, but not in all copies, or not all was looked at."""

    @property
    def word(self) -> str:
        """Return it for people and scripts."""
        return _WORDS[self]


_WORDS: Final = {
    Verdict.WHOLE: "whole",
    Verdict.LOST: "lost or rotten",
    Verdict.UNDER_REPLICATED: "under-replicated",
}
_COUNTED_ONCE: Final = {"lost": "lost_chunks", "unfound": "unfound_chunks"}
"""Of a chunk each of its homes tells."""


def packed(findings: Findings) -> str:
    """Return it as a row of `jobs` has it; "" when there is nothing to say."""
    text = msgspec.json.encode(findings).decode()
    return "" if text == "{}" else text


def unpacked(text: str) -> Findings:
    """Return what a row has; what a later version has written, as far as it is understood."""
    try:
        return msgspec.json.decode(text or "{}", type=Findings)
    except msgspec.DecodeError:
        return Findings(unlooked=1, reasons=["another version wrote what is not understood here"])


def total(all_of_them: Iterable[Findings]) -> Findings:
    """Return the findings of several stores as one; a chunk that several tell of is counted once.

    As far as they are named: above `CHUNKS_NAMED_MAX` it is the largest count of a store.
    """
    parts = list(all_of_them)
    found = Findings()
    for field in msgspec.structs.fields(Findings):
        values = [getattr(part, field.name) for part in parts]
        if field.type is int:
            setattr(found, field.name, sum(values))
        else:
            setattr(found, field.name, sorted({each for value in values for each in value}))
    for count, names in _COUNTED_ONCE.items():
        most = max((getattr(part, count) for part in parts), default=0)
        setattr(found, count, max(most, len(getattr(found, names))))
    return found


def verdict(found: Findings, *, lost: int, unasked: Sequence[object]) -> Verdict:
    """Return what is to be said when so many chunks are noted as lost, and these were not asked."""
    if lost or found.lost or found.rotten:
        return Verdict.LOST
    return Verdict.WHOLE if found.is_whole and not unasked else Verdict.UNDER_REPLICATED


def healed(found: Findings, *, lost: int, unasked: Sequence[object]) -> Verdict:
    """Return the same of a job that has replaced what was rotten."""
    left = msgspec.structs.replace(found, rotten=0)
    return verdict(left, lost=lost, unasked=unasked)


def _name(names: list[str], chunk: bytes) -> None:
    if len(names) < CHUNKS_NAMED_MAX:
        names.append(chunk.hex())

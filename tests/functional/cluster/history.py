"""Whether what was read of one name could have been, had each request happened at one moment.

Every value is written once. Then (Gibbons and Korach, 1997) each value has a zone: from the first
end of a request that wrote or read it to the last beginning of one. If the first end is before the
last beginning the value was certainly there in between: two such zones must not overlap, and the
zone of a value all of whose requests overlap must not lie within another's.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Request:
    """A write or a read of a value, and the time within which it happened.

    Of a write without an answer nobody knows whether or when: it ends at infinity.
    """

    value: str
    begun: float
    ended: float = math.inf


class _Zone(NamedTuple):
    value: str
    first_end: float
    last_begin: float

    @property
    def is_certain(self) -> bool:
        return self.first_end < self.last_begin


def contradictions(writes: Sequence[Request], reads: Sequence[Request]) -> list[str]:
    """Return what cannot be so; nothing when the requests fit into one order."""
    written = {write.value: write for write in writes}
    found = [
        f"{read.value} was read and never written, or later"
        for read in reads
        if read.value not in written or read.ended < written[read.value].begun
    ]
    seen = {read.value for read in reads}
    known = [w for w in writes if w.value in seen or w.ended < math.inf]
    zones = [_zone(write, (r for r in reads if r.value == write.value)) for write in known]
    certain = [zone for zone in zones if zone.is_certain]
    found += [
        f"{a.value} and {b.value} were there at once"
        for a, b in itertools.combinations(certain, 2)
        if a.first_end < b.last_begin and b.first_end < a.last_begin
    ]
    found += [
        f"{zone.value} was there while {over.value} was"
        for zone in zones
        for over in certain
        if not zone.is_certain
        and over.first_end < zone.last_begin
        and zone.first_end < over.last_begin
    ]
    return found


def _zone(write: Request, reads: Iterable[Request]) -> _Zone:
    requests = [write, *reads]
    return _Zone(write.value, min(x.ended for x in requests), max(x.begun for x in requests))

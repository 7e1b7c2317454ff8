"""Rows of the table: what was measured in each round, and the bar it is held against.

A row is a ratio (ours by another's, round by round, the median judged) or a figure of ours alone.
Where several peers were measured the ratio is to the best of those that the bar names, and a bar is
met only if all of them were there: what is installed can leave a row open, never pass it.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

OPEN: Final = "open"
MET: Final = "met"
SHORT: Final = "short"


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure: interleaved rounds that count, and one size for all large layers."""

    rounds: int
    layer_bytes: int
    scale: float = 1.0
    """Below 1 for a quick look: fewer images, requests, seconds and bytes."""
    mbit: int = 200
    """What a narrow wire carries each way, in Mbit/s."""
    gigabytes: float = 1.0
    """What a store that is lost, or read back, holds."""
    chunks: int = 1_000_000
    """Names that a walk looks at, at most."""
    large_bytes: int = 1_000_000_000
    """Of the layer that no cache has when it is pulled."""
    beside: tuple[str, ...] = ()
    """Names of the registries to measure beside ours; all that are there if empty."""

    def of(self, amount: int) -> int:
        """Return so much of the full amount, at least one."""
        return max(1, round(amount * self.scale))


@dataclass(frozen=True, slots=True)
class Bar:
    """What a row must reach."""

    limit: float
    at_least: bool
    named: tuple[str, ...] = ()
    """The peers, with their versions, that a ratio is judged against; none: whoever is there."""
    own: bool = False
    """Judges our own figure, whatever the others' are."""

    def met(self, value: float) -> bool:
        """Say whether the value is on the right side."""
        return value >= self.limit if self.at_least else value <= self.limit


def at_least(limit: float, named: tuple[str, ...] = (), *, own: bool = False) -> Bar:
    """Return the bar of a figure that should be large."""
    return Bar(limit, at_least=True, named=named, own=own)


def at_most(limit: float, named: tuple[str, ...] = (), *, own: bool = False) -> Bar:
    """Return the bar of a figure that should be small."""
    return Bar(limit, at_least=False, named=named, own=own)


@dataclass(slots=True)
class Row:
    """One kind of work: the rounds' figures of ours and of the other, in `unit`."""

    work: str
    unit: str
    bar: Bar | None
    """None where nothing is demanded, and the figure stands for itself."""
    ours: list[float]
    other: list[float] = field(default_factory=list)
    """The best peer's, or what else ours is held against; empty for a figure of ours alone."""
    digits: int = 0
    against: str = ""
    """Whose the other figures are."""
    peers: Mapping[str, list[float]] = field(default_factory=dict)
    """Those of every peer that was measured, the best one's included."""

    @property
    def ratios(self) -> list[float]:
        """The rounds' ratios; empty where there is no other."""
        pairs = zip(self.ours, self.other, strict=True) if self.other else ()
        return [one / other for one, other in pairs]

    @property
    def judged(self) -> list[float]:
        """What the bar is for: the rounds' ratios, or our figures themselves."""
        return self.ours if self.bar and self.bar.own else self.ratios or self.ours

    @property
    def value(self) -> float:
        """What the bar judges: the median ratio, or the figure's median."""
        return statistics.median(self.judged)

    @property
    def missing(self) -> tuple[str, ...]:
        """The peers that the bar names and that were not measured."""
        named = self.bar.named if self.bar else ()
        return tuple(name for name in named if name not in self.peers)

    @property
    def verdict(self) -> str:
        """Whether the bar is met, as printed (a ratio to two decimals); "" where there is none.

        It is open where a peer that the bar names was not there, unless another that it names is
        ahead already.
        """
        if self.bar is None:
            return ""
        digits = max(2, self.digits) if self.judged is self.ours else 2
        if self.bar.met(round(self.value, digits)):
            return OPEN if self.missing else MET
        return OPEN if self.missing and self.against not in self.bar.named else SHORT

    @property
    def met(self) -> bool:
        """Whether the bar is met, or there is none."""
        return self.verdict in {"", MET}


def beside(
    work: str,
    unit: str,
    bar: Bar | None,
    ours: list[float],
    peers: Mapping[str, list[float]],
    digits: int = 0,
) -> Row:
    """Return the row of figures of several peers, held against the best of them.

    The best is the one to which our ratio, the median of the rounds', is worst: so a bar that is
    met is met beside each of them. Of those that the bar names, if one was measured. Without a bar
    more is better.
    """
    named = [name for name in peers if bar and name in bar.named] or list(peers)
    if not named:
        return Row(work, unit, bar, ours, digits=digits)
    rows = [Row(work, unit, bar, ours, peers[name], digits, name, peers) for name in named]
    most = bar is None or bar.at_least
    return (min if most else max)(rows, key=lambda row: statistics.median(row.ratios))


Part = Callable[[Path, Effort], Sequence[Row]]
"""Measures one part of the table, with everything it keeps below the directory."""

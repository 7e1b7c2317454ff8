"""Rows of the table: what was measured in each round, and the bar it is held against.

A row is a ratio (ours by the peer's, round by round, the median judged) or a figure of ours alone
(the median judged, or its worst where the bar is a limit).
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

PEER: Final = "docker-registry"


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

    def of(self, amount: int) -> int:
        """Return so much of the full amount, at least one."""
        return max(1, round(amount * self.scale))


@dataclass(frozen=True, slots=True)
class Bar:
    """What a row must reach."""

    limit: float
    at_least: bool

    def met(self, value: float) -> bool:
        """Say whether the value is on the right side."""
        return value >= self.limit if self.at_least else value <= self.limit


def at_least(limit: float) -> Bar:
    """Return the bar of a figure that should be large."""
    return Bar(limit, at_least=True)


def at_most(limit: float) -> Bar:
    """Return the bar of a figure that should be small."""
    return Bar(limit, at_least=False)


@dataclass(slots=True)
class Row:
    """One kind of work: the rounds' figures of ours and of the other, in `unit`."""

    work: str
    unit: str
    bar: Bar | None
    """None where nothing is demanded, and the figure stands for itself."""
    ours: list[float]
    other: list[float] = field(default_factory=list)
    """The peer's, or what else ours is held against; empty for a figure judged by itself."""
    digits: int = 0
    against: str = PEER

    @property
    def judged(self) -> list[float]:
        """The rounds' ratios, or our figures themselves."""
        if not self.other:
            return self.ours
        return [one / other for one, other in zip(self.ours, self.other, strict=True)]

    @property
    def value(self) -> float:
        """What the bar judges: the median ratio, or the figure's median."""
        return statistics.median(self.judged)

    @property
    def met(self) -> bool:
        """Whether the bar is met, as printed: a ratio to two decimals."""
        digits = 2 if self.other else max(2, self.digits)
        return self.bar is None or self.bar.met(round(self.value, digits))


Part = Callable[[Path, Effort], Sequence[Row]]
"""Measures one part of the table, with everything it keeps below the directory."""

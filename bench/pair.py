"""Two registries side by side: each round does each step on both, in alternating order.

The machine drifts, so only figures of the same round are held against each other. Round 0 warms up
and is not counted.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.peers import Certificate, docker_registry, treescale
from bench.rows import Bar, Row
from bench.wire import Target

Step = Callable[[Target, int], Mapping[str, float]]
"""Does one thing to one registry in the given round; returns figures by name."""


@dataclass(slots=True)
class Figures:
    """What the counted rounds gave, by name."""

    ours: dict[str, list[float]] = field(default_factory=dict)
    other: dict[str, list[float]] = field(default_factory=dict)

    def row(self, name: str, unit: str, bar: Bar | None, digits: int = 0) -> Row:
        """Return the row of what the steps returned under its name."""
        return Row(name, unit, bar, self.ours[name], self.other[name], digits)


@dataclass(frozen=True, slots=True)
class Pair:
    """Ours and the peer."""

    ours: Target
    peer: Target

    def measure(self, rounds: int, steps: Sequence[Step]) -> Figures:
        """Run every step on both, `rounds` times and once before that does not count."""
        figures = Figures()
        for number in range(rounds + 1):
            for step in steps:
                order = (self.ours, self.peer) if number % 2 else (self.peer, self.ours)
                for target in order:
                    measured = step(target, number)
                    kept = figures.ours if target is self.ours else figures.other
                    if number:
                        for name, value in measured.items():
                            kept.setdefault(name, []).append(value)
        return figures


@contextmanager
def side_by_side(
    root: Path, part: str, *, certificate: Certificate | None = None
) -> Iterator[Pair]:
    """Run both on fresh directories."""
    place = root / part
    place.mkdir()
    with (
        treescale(place / "treescale", certificate=certificate) as ours,
        docker_registry(place / "peer", certificate=certificate) as peer,
    ):
        yield Pair(ours, peer)

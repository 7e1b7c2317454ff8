"""Registries side by side: each round does each step on all of them, each time from another on.

The machine drifts, so only figures of the same round are held against each other. Round 0 warms up
and is not counted.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bench.peers import OURS, Certificate, peer, treescale
from bench.registries import Registry, there
from bench.rows import Bar, Effort, Row, beside
from bench.wire import Target

Step = Callable[[Target, int], Mapping[str, float]]
"""Does one thing to one registry in the given round; returns figures by name."""
NamedStep = Callable[[str, int], Mapping[str, float]]
"""The same for a registry that is known by its name, and not running."""


class Start(Protocol):
    """Runs a registry on a directory."""

    def __call__(
        self, directory: Path, *, certificate: Certificate | None = None
    ) -> AbstractContextManager[Target]:
        """Return what runs it for the time of a block."""


@dataclass(slots=True)
class Figures:
    """What the counted rounds gave: ours by name, and the others' by theirs."""

    ours: dict[str, list[float]] = field(default_factory=dict)
    others: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def row(self, name: str, unit: str, bar: Bar | None, digits: int = 0) -> Row:
        """Return the row of what the steps returned under its name."""
        others = {peer: kept[name] for peer, kept in self.others.items()}
        return beside(name, unit, bar, self.ours[name], others, digits)


@dataclass(frozen=True, slots=True)
class Targets:
    """Ours and the peers, all running."""

    ours: Target
    peers: tuple[Target, ...]

    @property
    def all(self) -> tuple[Target, ...]:
        """Ours first."""
        return self.ours, *self.peers

    def measure(self, rounds: int, steps: Sequence[Step]) -> Figures:
        """Run every step on all, `rounds` times and once before that does not count."""
        known = {target.name: target for target in self.all}
        named = [_on(known, step) for step in steps]
        return interleaved(list(known), rounds, named)


def interleaved(names: Sequence[str], rounds: int, steps: Sequence[NamedStep]) -> Figures:
    """Do every step for all names, of which the first is ours; as `Targets.measure` does."""
    figures = Figures()
    for number in range(rounds + 1):
        for step in steps:
            for name in in_turn(names, number):
                measured = step(name, number)
                ours = name == names[0]
                kept = figures.ours if ours else figures.others.setdefault(name, {})
                if number:
                    for figure, value in measured.items():
                        kept.setdefault(figure, []).append(value)
    return figures


def in_turn(names: Sequence[str], number: int) -> list[str]:
    """Return the names in the order of a round: in each another one is first."""
    first = number % len(names)
    return [*names[first:], *names[:first]]


def starts(effort: Effort) -> Mapping[str, Start]:
    """Return how ours is started, first, and each peer that is there."""
    return {OURS: treescale, **{one.name: _start(one) for one in there(effort.beside)}}


@contextmanager
def side_by_side(
    root: Path, part: str, effort: Effort, *, certificate: Certificate | None = None
) -> Iterator[Targets]:
    """Run ours and each peer that is there, on fresh directories named after them."""
    place = root / part
    place.mkdir()
    with ExitStack() as running:
        ours, *peers = [
            running.enter_context(start(place / name, certificate=certificate))
            for name, start in starts(effort).items()
        ]
        yield Targets(ours, tuple(peers))


def _start(registry: Registry) -> Start:
    def started(
        directory: Path, *, certificate: Certificate | None = None
    ) -> AbstractContextManager[Target]:
        return peer(registry, directory, certificate=certificate)

    return started


def _on(known: Mapping[str, Target], step: Step) -> NamedStep:
    return lambda name, number: step(known[name], number)

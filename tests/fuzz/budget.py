"""How long the fuzzers run, from which seed, and what they found out: counted and printed.

FUZZ_SECONDS (60) is shared by all fuzzers; FUZZ_SEED (0) decides every input; FUZZ_CASE runs that
one case of a seed alone. A failure prints what to set to see it again. The numbers of each fuzzer
are printed at the end of the run, also by CI.
"""

import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random  # noqa: TID251  a seeded source: what a fuzzer sends must come again
from typing import Final

from hypothesis import settings

SECONDS: Final = float(os.environ.get("FUZZ_SECONDS", "60"))
SEED: Final = int(os.environ.get("FUZZ_SEED", "0"))
CASE: Final = os.environ.get("FUZZ_CASE", "")
TIMEOUT: Final = SECONDS + 300
"""Seconds after which a test counts as hanging: far more than any of them takes."""
REPORT: Final = "fuzz"


def parser(number: int = 100) -> settings:
    """Return how a parser is fuzzed: with `number` inputs in a run of a minute, always the same.

    A shorter run has fewer, a quarter at least.

    Another seed than 0 has hypothesis choose others each time; it prints what fails by itself.
    """
    inputs = round(number * max(0.25, SECONDS / 60))
    return settings(max_examples=inputs, deadline=None, derandomize=SEED == 0)


def chance(case: int, name: str) -> Random:
    """Return the source of one case's inputs; the same for the same seed, always."""
    return Random(f"{SEED}/{name}/{case}")  # noqa: S311  nothing here is a secret


def again(case: int) -> str:
    """Return what makes a fuzzer send just this case again."""
    return f"FUZZ_SEED={SEED} FUZZ_CASE={case}"


def cases(share: float) -> Iterator[int]:
    """Yield the numbers of the cases to run within this share of the time."""
    if CASE:
        yield int(CASE)
        return
    started = time.monotonic()
    number = 0
    while number == 0 or time.monotonic() < started + SECONDS * share:
        yield number
        number += 1


def _resident_bytes() -> int:
    """Return how much memory this process occupies."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


@dataclass
class Tally:
    """What a fuzzer sent, and how it was answered."""

    name: str
    inputs: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    started: float = field(default_factory=time.monotonic)
    resident: int = field(default_factory=_resident_bytes)

    def answered(self, status: int) -> None:
        """Count an answer by its class, those over 499 each by itself."""
        self.answers[str(status) if status >= 500 else f"{status // 100}xx"] += 1

    def grown(self) -> int:
        """Return how many bytes of memory this process has more than at the start."""
        return _resident_bytes() - self.resident

    def __str__(self) -> str:
        """Return the line for the report."""
        errors = sum(n for kind, n in self.answers.items() if kind.isdigit())
        kinds = ", ".join(f"{kind} {n}" for kind, n in sorted(self.answers.items()))
        return (
            f"{self.name}: {self.inputs} inputs in {time.monotonic() - self.started:.0f} s, "
            f"seed {SEED}; answers: {kinds or 'none'}; 5xx: {errors}; "
            f"memory +{self.grown() / 2**20:.0f} MiB"
        )

"""How many examples a property test draws that says so itself, and how often a race is run."""

import os
from typing import Final

from hypothesis import settings

_DEFAULT: Final = 100
"""What hypothesis draws where nothing is said."""
_FEW: Final = 3
RACES: Final = range(1, 1 + int(os.environ.get("RACE_SEEDS", "1")))
"""From which seeds all that changes rows of PostgreSQL happens at once."""


def examples(count: int) -> int:
    """Return so many; in the profile `fast`, in the proportion in which that draws fewer."""
    return max(min(count, _FEW), count * min(settings().max_examples, _DEFAULT) // _DEFAULT)

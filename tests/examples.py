"""How many examples a property test draws that says so itself."""

from typing import Final

from hypothesis import settings

_DEFAULT: Final = 100
"""What hypothesis draws where nothing is said."""
_FEW: Final = 3


def examples(count: int) -> int:
    """Return so many; in the profile `fast`, in the proportion in which that draws fewer."""
    return max(min(count, _FEW), count * min(settings().max_examples, _DEFAULT) // _DEFAULT)

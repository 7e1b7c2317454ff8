"""Whether a store may remove anything yet: not soon after its start, nor after a step of its clock.

A power cut takes back new times of files that were not on the disk yet, and a clock that is set
makes copies seem older, or younger, than they are. Pushes that relied on them have recorded what
they put, or were refused, once the store has been quiet for long enough (collection.md R8). PURE.
"""

from collections.abc import Callable


class Quiet:
    """The quiet of one store; `clocks` tells the wall's seconds, and those since the boot.

    It may be asked from any thread: what one call sets, another sets the same.
    """

    def __init__(self, clocks: Callable[[], tuple[float, float]]) -> None:
        self._clocks = clocks
        wall, self._since = clocks()
        self._ahead = wall - self._since
        self._steps = 0

    def stretch(self, step: float) -> int:
        """Return the number of the stretch for which the clock has been steady: within `step` s.

        What was looked at in another stretch is worth nothing now.
        """
        wall, boot = self._clocks()
        if abs(wall - boot - self._ahead) > step:
            self._ahead, self._since = wall - boot, boot
            self._steps += 1
        return self._steps

    def left(self, seconds: float, step: float) -> float:
        """Return for how long nothing may be removed yet; 0 once it was quiet for so long."""
        self.stretch(step)
        return max(0.0, self._since + seconds - self._clocks()[1])

"""The server's CPU for 1,000 tiny images, with events and without.

Four clients push to a server of one worker. Without events what a push overwrites is held and read
all the same, as without them the push would be another one.
"""

from pathlib import Path
from typing import Final

from bench import turns
from bench.rows import Effort, Row
from bench.work.tiny import CLIENTS, push_images

IMAGES: Final = 1_600


def measure(root: Path, effort: Effort) -> list[Row]:
    """Measure both in each alternation, of servers that were started for it."""
    what, names = "server CPU for 1,000 tiny images", ("recorded", "not recorded")
    of = turns.Switched("bench.events.switched", push_images, IMAGES, CLIENTS)
    return turns.rows(root, effort, what, names, of)

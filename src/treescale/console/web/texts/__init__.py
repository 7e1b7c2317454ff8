"""All that the pages say, in English. What is filled in stands in braces."""

from collections.abc import Mapping
from typing import Final

from treescale.console.web.texts.account import ACCOUNT
from treescale.console.web.texts.base import BASE
from treescale.console.web.texts.content import CONTENT
from treescale.console.web.texts.operator import OPERATOR
from treescale.console.web.texts.robots import ROBOTS
from treescale.console.web.texts.rules import RULES
from treescale.console.web.texts.settings import SETTINGS

_ROOMS: Final = (BASE, ACCOUNT, CONTENT, SETTINGS, ROBOTS, RULES, OPERATOR)
TEXTS: Final[Mapping[str, str]] = {name: text for room in _ROOMS for name, text in room.items()}
DONE: Final = "done_"
"""How the names of those begin that tell of what has just been done."""
assert len(TEXTS) == sum(len(room) for room in _ROOMS), "a name is given twice"

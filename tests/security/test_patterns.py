"""No text makes a pattern take longer than its length asks for: it would hold up a whole worker."""

import importlib
import pkgutil
import re
import time

import pytest

import treescale
from tests.tables import each_row

LENGTH = 20_000
SECONDS_MAX = 1.0
"""Of CPU. In time that grows with the square, so long a text takes seven and more."""
REPEATED = [*'a0-._/=:;,[%\t "\\', "a.", "a-", "a_", "0-", '" ', 'a="', "\\a", "W/", '",']
BEFORE = ["", "a", '"', "a=", 'a="', "bytes="]
AFTER = ["", "!", '"']


def patterns() -> list[tuple[str, re.Pattern[str]]]:
    """Return all patterns for text that any of our files has, but for the command line's."""
    found = []
    for each in pkgutil.walk_packages(treescale.__path__, "treescale."):
        if each.name.startswith(("treescale.cli", "treescale.__main__", "treescale.metadata.migr")):
            continue
        for name, value in vars(importlib.import_module(each.name)).items():
            if isinstance(value, re.Pattern) and isinstance(value.pattern, str):
                found.append((f"{each.name}.{name}", value))
    return found


@each_row("pattern", [pytest.param(one, id=name) for name, one in patterns()])
def test_a_long_text_is_matched_in_time_that_grows_with_its_length(
    pattern: re.Pattern[str],
) -> None:
    for before in BEFORE:
        for repeated in REPEATED:
            for after in AFTER:
                text = before + repeated * (LENGTH // len(repeated)) + after
                begun = time.process_time()
                pattern.match(text)
                pattern.fullmatch(text)
                took = time.process_time() - begun
                assert took < SECONDS_MAX, (before, repeated, after)

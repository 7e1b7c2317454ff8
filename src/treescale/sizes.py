"""Numbers of bytes as people write and read them: powers of 1,000, as docker and disks have them.

Pure.
"""

import re
from collections.abc import Mapping
from typing import Final

from treescale.errors import SettingInvalid

UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
BYTES_MAX: Final = 10**18
"""What is said of bytes is less than this: it fits the columns of either database."""
_STEP: Final = 1000
_FACTORS: Final[Mapping[str, int]] = {
    "": 1,
    **{unit.lower(): _STEP**power for power, unit in enumerate(UNITS)},
    **{f"{letter}ib": 1024**power for power, letter in enumerate("kmgtpe", start=1)},
    **{letter: _STEP**power for power, letter in enumerate("kmgtpe", start=1)},
}
_SIZE: Final = re.compile(r"([0-9]{1,18})(?:\.([0-9]{1,3}))? ?([A-Za-z]{0,3})")
_SHOWN_MAX: Final = 40


def in_words(count: int) -> str:
    """Return a number of bytes with three digits and a unit."""
    amount, power = float(count), 0
    while amount >= _STEP - 0.5 and power < len(UNITS) - 1:  # 999.6 has four digits
        amount /= _STEP
        power += 1
    return f"{count} B" if power == 0 else f"{amount:.3g} {UNITS[power]}"


def parse_bytes(text: str) -> int:
    """Return how many bytes `50GB`, `1.5TB`, `512MiB` or `1000` are; raises SettingInvalid."""
    found = _SIZE.fullmatch(text.strip())
    factor = None if found is None else _FACTORS.get(found[3].lower())
    if found is None or factor is None:
        shown = repr(text[:_SHOWN_MAX])
        raise SettingInvalid(f"{shown} is no size: say 500MB, 50GB, 1.5TB or 200GiB")
    fraction = found[2] or ""
    count: int = int(found[1] + fraction) * factor // 10 ** len(fraction)
    if count >= BYTES_MAX:
        raise SettingInvalid(f"{text[:_SHOWN_MAX]!r} is more than there will ever be: say less")
    return count

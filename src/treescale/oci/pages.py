"""Pages of lists: `n` and `last` of a query, and the Link to the next page (RFC 8288)."""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

from treescale.errors import PageInvalid

page_entries_max: Final = 1000
last_characters_max: Final = 512
_DIGITS: Final = re.compile(r"[0-9]{1,19}")
_MANY_DIGITS: Final = re.compile(r"[0-9]{20,64}")


def parse_page_size(values: list[str]) -> int:
    """Return how many entries a page may have, from all values of `n` in the query.

    None given: the most there is; more than that is cut to it (CVE-2023-2253). Raises PageInvalid
    for what is no number of ASCII digits, or given twice.
    """
    if not values:
        return page_entries_max
    if len(values) > 1:
        raise PageInvalid("n is given twice")
    if _DIGITS.fullmatch(values[0]) is not None:
        return min(int(values[0]), page_entries_max)
    if _MANY_DIGITS.fullmatch(values[0]) is not None:
        return page_entries_max
    raise PageInvalid("n must be a whole number, such as n=100")


def parse_last(values: list[str]) -> str:
    """Return the entry after which the page starts, "" for the first page.

    It need not exist. Raises PageInvalid for what no entry can be called, or given twice.
    """
    if not values:
        return ""
    if len(values) > 1:
        raise PageInvalid("last is given twice")
    last = values[0]
    if len(last) > last_characters_max or not (last.isascii() and last.isprintable()):
        raise PageInvalid("last must be an entry of an earlier page")
    return last


def link_header(path: str, n: int, last: str, filters: Mapping[str, str] | None = None) -> str:
    """Return the Link header to the page of `n` entries after `last`; `filters` are repeated."""
    query = urlencode({**(filters or {}), "n": str(n), "last": last})
    return f'<{path}?{query}>; rel="next"'

"""Pages of lists: `n` and `last` of a query, and the Link to the next page (RFC 8288)."""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlencode

from treescale.errors import PageInvalid

PAGE_ENTRIES_MAX: Final = 1000
LAST_CHARACTERS_MAX: Final = 512
_DIGITS: Final = re.compile(r"[0-9]{1,19}")
_MANY_DIGITS: Final = re.compile(r"[0-9]{20,64}")


def parse_page_size(values: list[str]) -> int:
    """Return how many entries a page may have, from all values of `n` in the query.

    None given, or an empty one: the most there is; more than that is cut to it (CVE-2023-2253).
    Raises PageInvalid for what is no number of ASCII digits, or given twice.
    """
    text = _only("n", values)
    if not text:
        return PAGE_ENTRIES_MAX
    if _DIGITS.fullmatch(text) is not None:
        return min(int(text), PAGE_ENTRIES_MAX)
    if _MANY_DIGITS.fullmatch(text) is not None:
        return PAGE_ENTRIES_MAX
    raise PageInvalid("n must be a whole number, such as n=100")


def parse_last(values: list[str], name: str = "last") -> str:
    """Return the entry after which the page starts, "" for the first page.

    It need not exist. Raises PageInvalid for what no entry can be called, or given twice.
    """
    last = _only(name, values)
    if len(last) > LAST_CHARACTERS_MAX or not (last.isascii() and last.isprintable()):
        raise PageInvalid(f"{name} must be an entry of an earlier page")
    return last


def link_header(
    path: str,
    n: int,
    last: str,
    filters: Mapping[str, str] | None = None,
    cursor: str = "last",
) -> str:
    """Return the Link header to the page of `n` entries after `last`; `filters` are repeated.

    `cursor` is what the parameter is called.
    """
    # Not a form: in a query a plus is a plus, and a blank is %20.
    query = urlencode({**(filters or {}), "n": str(n), cursor: last}, quote_via=quote, safe="")
    return f'<{path}?{query}>; rel="next"'


def _only(name: str, values: list[str]) -> str:
    """Return the one value there is, "" for none."""
    if len(values) > 1:
        raise PageInvalid(f"{name} is given twice")
    return values[0] if values else ""

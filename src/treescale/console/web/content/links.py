"""Where pages of content are: paths of names that were checked, and their queries. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote, urlencode

SEARCH: Final = "/-/search"
DELETED_SHOWN: Final = "100"
"""Of what was deleted, on a page."""
UNDO_MAX: Final = 10
"""Tags that an address brings back; more are on the page of what was deleted."""


def image_path(name: str, reference: str) -> str:
    """Return where an image is, by a tag or a digest."""
    mark = "@" if ":" in reference else ":"
    return f"/{name}{mark}{reference}"


def with_query(path: str, values: Mapping[str, str]) -> str:
    """Return a path with those of the values that are not empty."""
    given = {name: value for name, value in values.items() if value}
    return f"{path}?{urlencode(given, quote_via=quote)}" if given else path


def further_page(path: str, after: str | None) -> str:
    """Return where a list goes on; "" at its end."""
    return with_query(path, {"after": after}) if after else ""


def parents(name: str) -> Sequence[tuple[str, str]]:
    """Return the text and path of what a repository is in: its namespace."""
    namespace = name.partition("/")[0]
    return [(namespace, f"/{namespace}")]


def shown_name(name: str) -> str:
    """Return a repository's name without its namespace."""
    return name.partition("/")[2]

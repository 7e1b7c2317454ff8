"""Pages of lists, the same way for all: `n` and `after` in, `next` and a Link out. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

from treescale.console.route import PREFIX, Asked
from treescale.errors import PageInvalid
from treescale.oci.pages import link_header, parse_last, parse_page_size

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Paging:
    """Which page is asked for: so many entries, after this one."""

    limit: int
    after: str

    @classmethod
    def of(cls, asked: Asked) -> Self:
        """Return what the query says; raises PageInvalid."""
        limit = parse_page_size(_given(asked, "n"))
        if limit == 0:
            raise PageInvalid("n must be 1 or more")
        return cls(limit, parse_last(_given(asked, "after"), "after"))


def page_of(
    path: str,
    paging: Paging,
    found: Sequence[Item],
    key: Callable[[Item], str],
    filters: Mapping[str, str] | None = None,
) -> tuple[Sequence[Item], str | None, dict[str, str]]:
    """Return the page, the `next` after it, and the Link there, of one entry more than it has."""
    shown = found[: paging.limit]
    if len(found) <= paging.limit:
        return shown, None, {}
    last = key(shown[-1])
    link = link_header(PREFIX + path, paging.limit, last, filters, cursor="after")
    return shown, last, {"Link": link}


def _given(asked: Asked, name: str) -> list[str]:
    return [asked.query[name]] if name in asked.query else []

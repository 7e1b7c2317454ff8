"""What a row of the table is: method and path, who may ask, what comes in and what goes out. Pure.

A path is a template such as `/repositories/{name}`. Its last parameter takes slashes as well, for
the names of repositories have some.
"""

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from treescale.auth.policy import Principal
from treescale.auth.roles import Memberships
from treescale.auth.scopes import TokenScope
from treescale.errors import RequestInvalid

PREFIX: Final = "/api/v1"
_PARAMETER: Final = re.compile(r"\{([a-z_]+)\}")


class Who(Enum):
    """Who may ask."""

    ANYBODY = "anybody"
    USER = "user"
    """Whoever logs in."""
    ADMINISTRATOR = "administrator"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was let in, and read."""

    principal: Principal
    is_administrator: bool
    parameters: Mapping[str, str]
    """Of the path."""
    query: Mapping[str, str]
    body: Any
    """As the route's `takes` has it; None for a route that takes none."""
    headers: Mapping[str, str] = field(default_factory=dict)
    held: Memberships = field(default_factory=dict)
    """What the caller was granted, by namespace."""
    again: "Callable[[], Awaitable[Asked]] | None" = None
    """Looks again who asks, for an answer that takes its time; raises what keeps them out now."""

    prove: Callable[[str, str], Awaitable[Principal]] | None = None
    """Returns the person whom a name and a password prove; None where nobody sends one."""

    @property
    def name(self) -> str:
        """Return the path's parameter `name`."""
        return self.parameters["name"]


@dataclass(frozen=True, slots=True)
class Answered:
    """What goes out: anything that JSON has, and headers."""

    content: object
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Streamed:
    """What goes out as it comes. An error before the first piece is the answer instead."""

    content_type: str
    pieces: AsyncGenerator[bytes, None]
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Asked], Awaitable[Answered | Streamed]]


@dataclass(frozen=True)
class ApiRoute:
    """A row of the table."""

    method: str
    path: str
    """Below PREFIX."""
    who: Who
    summary: str
    """In a few words, for the document."""
    handler: Handler
    gives: Any
    """The type of the answer."""
    takes: type[msgspec.Struct] | None = None
    """The type of the body."""
    query: Mapping[str, str] = field(default_factory=dict)
    """The parameters of the query, and what each is."""
    scope: TokenScope = TokenScope.API
    """What an access token must have been made for."""
    streams: Sequence[str] = ()
    """The media types in which the answer also comes piece by piece, for as long as one reads."""

    @cached_property
    def names(self) -> Sequence[str]:
        """Return the parameters of the path, in their order."""
        return _PARAMETER.findall(self.path)

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        words = _PARAMETER.split(self.path)
        last = len(words) - 2
        parts = [
            re.escape(word) if not place % 2 else ("(.+)" if place == last else "([^/]+)")
            for place, word in enumerate(words)
        ]
        return re.compile("".join(parts), re.DOTALL)

    def match(self, path: str) -> Mapping[str, str] | None:
        """Return the parameters of a path below PREFIX, decoded; None for another resource."""
        found = self._pattern.fullmatch(path)
        return None if found is None else dict(zip(self.names, found.groups(), strict=True))


def decoded(raw: str) -> str:
    """Return a path with its escapes read once; raises RequestInvalid when they are no UTF-8."""
    try:
        return unquote(raw, errors="strict")
    except UnicodeDecodeError:
        raise RequestInvalid("the path is not UTF-8") from None

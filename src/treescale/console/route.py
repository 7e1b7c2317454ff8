"""What a row of the table is: method and path, who may ask, what comes in and what goes out. Pure.

A path is a template such as `/repositories/{name}`. The parameter `name`, or without it the last,
takes slashes as well, for the names of repositories have some. A slash that is escaped never parts
two segments, so that a path made with `segment` says what it is of, whatever its names are.
"""

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any, Final
from urllib.parse import quote, unquote

import msgspec

from treescale.auth.policy import Principal
from treescale.auth.roles import Memberships
from treescale.auth.scopes import TokenScope
from treescale.console.body import BODY_BYTES_MAX
from treescale.errors import (
    NamespaceUnknown,
    NameUnknown,
    PasswordNeeded,
    RequestInvalid,
    Unsupported,
)

PREFIX: Final = "/api/v1"
API_PATHS: Final = "/api/"
"""What all paths of the management API begin with: there is one version yet."""
SEARCH_PATH: Final = "/v1/search"
PING_PATH: Final = "/v1/_ping"
"""docker asks this before it searches."""
GET: Final = "GET"
PUT: Final = "PUT"
POST: Final = "POST"
DELETE: Final = "DELETE"
PAGE: Final = {
    "n": "How many at most, 1 to 1,000.",
    "after": "The `next` of the page before.",
}
"""The query of a list in pages."""
HEAD: Final = "HEAD"
_PREFIX: Final = PREFIX.split("/")
_NAME: Final = "{name}"
_PARAMETER: Final = re.compile(r"\{([a-z_]+)\}")


class Who(Enum):
    """Who may ask."""

    ANYBODY = "anybody"
    READER = "reader"
    """Whoever logs in; others as far as the registry lets them pull."""
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

    is_fresh: bool = True
    """Whether it was proven a moment ago who asks; a session may have begun long ago."""
    prove: Callable[[str, str], Awaitable[Principal]] | None = None
    """Returns the person whom a name and a password prove; None where nobody sends one."""

    @property
    def name(self) -> str:
        """Return the path's parameter `name`."""
        return self.parameters["name"]


def check_fresh(asked: Asked) -> None:
    """Raise PasswordNeeded unless the caller may make a secret: who shows a password may.

    Or who has just signed in. Whoever bears an access token may not, whatever it is for: one that
    leaked would else make others that outlive it.
    """
    if not asked.is_fresh:
        raise PasswordNeeded("you signed in a while ago: prove it once more at /-/account")
    if asked.principal.token_id:
        raise PasswordNeeded(
            "an access token makes no secrets: ask for this with the password of the user"
        )


def no_repository(asked: Asked, name: str) -> NameUnknown:
    """Return the error for one that is not there, or not for the caller, in the same words.

    The operator, who sees all, is told how to.
    """
    if asked.principal.is_operator:
        return NameUnknown(f"no repository {name}: `treescale repo list` lists all")
    return NameUnknown(f"no repository {name} that you may see")


def no_namespace(asked: Asked, name: str) -> NamespaceUnknown:
    """Return the same of a namespace."""
    if asked.principal.is_operator:
        return NamespaceUnknown(
            f"no organisation and no user {name}: `treescale org add {name} --owner USER` makes one"
        )
    return NamespaceUnknown(f"no organisation {name} in which you have a role")


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
    body_bytes_max: int = BODY_BYTES_MAX
    query: Mapping[str, str] = field(default_factory=dict)
    """The parameters of the query, and what each is."""
    scope: TokenScope = TokenScope.API
    """What an access token must have been made for."""
    streams: Sequence[str] = ()
    """The media types in which the answer also comes piece by piece, for as long as one reads."""
    robots: bool = False
    """Whether robots may ask, too."""

    @cached_property
    def names(self) -> Sequence[str]:
        """Return the parameters of the path, in their order."""
        return _PARAMETER.findall(self.path)

    @cached_property
    def _words(self) -> Sequence[str]:
        return self.path.split("/")[1:]

    @cached_property
    def _wide(self) -> int | None:
        """Which word takes slashes."""
        places = [index for index, word in enumerate(self._words) if word.startswith("{")]
        named = [index for index in places if self._words[index] == _NAME]
        return next(iter([*named, *reversed(places)]), None)

    def match(self, segments: Sequence[str]) -> Mapping[str, str] | None:
        """Return the parameters of a path below PREFIX; None for another resource."""
        words = self._words
        if not segments or (words[0] != segments[0] and not words[0].startswith("{")):
            return None
        more = len(segments) - len(words)
        if more < 0 or (more and self._wide is None):
            return None
        if self._wide is not None:
            end = self._wide + more + 1
            whole = "/".join(segments[self._wide : end])
            segments = [*segments[: self._wide], whole, *segments[end:]]
        pairs = list(zip(self._words, segments, strict=True))
        if any(word != given for word, given in pairs if not word.startswith("{")):
            return None
        found = {word[1:-1]: given for word, given in pairs if word.startswith("{")}
        return found if all(found.values()) else None


def segment(word: str) -> str:
    """Return a word as it stands in a path: a name with slashes, or anything, as one segment."""
    return quote(word, safe="")


def segments_of(raw: str) -> Sequence[str]:
    """Return the segments of a path below PREFIX, their escapes read once; [] for other paths.

    A slash that is escaped is one of a name. Raises RequestInvalid when they are no UTF-8, or
    have a NUL, which no text of a database has.
    """
    try:
        found = [unquote(each, errors="strict") for each in raw.split("/")]
    except UnicodeDecodeError:
        raise RequestInvalid("the path is not UTF-8") from None
    if any("\0" in each for each in found):
        raise RequestInvalid("the path has a NUL")
    below = len(_PREFIX)
    return found[below:] if found[:below] == _PREFIX else []


def find(
    routes: Sequence[ApiRoute], method: str, raw_path: str
) -> tuple[ApiRoute, Mapping[str, str]]:
    """Return the route, and its path's parameters; raises NameUnknown, Unsupported."""
    segments = segments_of(raw_path)
    matching = [(row, found) for row in routes if (found := row.match(segments)) is not None]
    if not matching:
        raise NameUnknown(f"nothing here; {PREFIX}/openapi.json says what there is")
    for row, found in matching:
        if row.method == (GET if method == HEAD else method):
            return row, found
    allowed = list(dict.fromkeys(row.method for row, _ in matching))
    allowed += [HEAD] * (GET in allowed)
    raise Unsupported(f"use {' or '.join(allowed)} here", allowed=tuple(allowed))


def check_query(route: ApiRoute, pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the parameters; raises RequestInvalid for one that is unknown, or given twice."""
    found: dict[str, str] = {}
    for name, value in pairs:
        if name not in route.query:
            known = ", ".join(route.query) or "none"
            raise RequestInvalid(f"unknown parameter {name[:100]!r}; known here: {known}")
        if name in found:
            raise RequestInvalid(f"{name} is given twice")
        if "\0" in value:
            raise RequestInvalid(f"{name} has a NUL")
        found[name] = value
    return found

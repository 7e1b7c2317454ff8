"""What a row of the table of pages is: who may open it, what comes in and what goes out. Pure.

A path is a template such as `/{name}/-/hooks`. `{namespace}` is the first part of a repository's
name, `{name}` all of it: it takes slashes. No part of a name is `-`, has a colon or an at sign, so
what is a page of ours, a tag (`/acme/app:1`) or a digest (`/acme/app@sha256:…`) is never one.
"""

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any, Final, Protocol

from treescale.auth.policy import Principal
from treescale.http.sessions.cookies import Cookie
from treescale.http.sessions.visitor import Place
from treescale.oci.names import is_possible_namespace
from treescale.registry.people.sessions import SignedIn

PREFIX: Final = "/-/"
NEXT_CHARACTERS_MAX: Final = 500
FORM_BYTES_MAX: Final = 16 * 1024
_PARAMETER: Final = re.compile(r"\{([a-z_]+)\}")
_PART: Final = r"(?!-(?:/|$))[^/:@]+"
_PATTERNS: Final = {"namespace": f"({_PART})", "name": f"({_PART}(?:/{_PART})+)"}
_LOCAL: Final = re.compile(r"/(?![/\\])[!-\[\]-~]*")


def is_page(path: str) -> bool:
    """Return whether pages answer a path: ours, the root, and what a namespace's begins with."""
    if path.startswith(PREFIX):
        return True
    nothing, _, rest = path.partition("/")
    first = rest.partition("/")[0]
    return not nothing and (not rest or is_possible_namespace(first))


class Who(Enum):
    """Who may open a page."""

    ANYBODY = "anybody"
    SIGNED_IN = "signed in"
    ADMINISTRATOR = "administrator"


class AskApi(Protocol):
    """The management API, asked as whoever has the page open."""

    async def __call__(
        self, method: str, path: str, *, query: Mapping[str, str] = ..., body: object = None
    ) -> Any:
        """Return what is answered, of the type that the row of the table gives.

        `path` is below `/api/v1`, escaped (`segment`). Raises the errors that the API tells of:
        uncaught, they are a page that says so.
        """


@dataclass(frozen=True, slots=True)
class Visit:
    """A request that was let in, and read."""

    place: Place
    address: str
    agent: str
    parameters: Mapping[str, str]
    """Of the path."""
    query: Mapping[str, str]
    form: Mapping[str, str]
    signed_in: SignedIn | None
    prove: Callable[[str, str], Awaitable[Principal]]
    """Returns whom a name and a password prove; raises CredentialsInvalid, TooMany."""
    note_login: Callable[[Principal], None]
    """Has the audit log tell that somebody came in."""
    note_refusal: Callable[[], None]
    """Has it tell that somebody did not."""
    cookie: Callable[[str], str]
    """Returns a cookie of ours, "" without it."""
    api: AskApi
    """Asks the management API as whoever this is."""

    @property
    def me(self) -> SignedIn:
        """Return who has a page open that is for who is signed in."""
        assert self.signed_in is not None, "the page's row says who may open it"
        return self.signed_in

    @property
    def next(self) -> str:
        """Return where to go afterwards: a path of this very host, or nowhere."""
        return local_path(self.form.get("next", "") or self.query.get("next", ""))


@dataclass(frozen=True, slots=True)
class Page:
    """What is shown: a template, and what stands in it."""

    template: str
    values: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200
    cookies: Sequence[Cookie] = ()


@dataclass(frozen=True, slots=True)
class Moved:
    """Where to go on: a path of this host, or a provider of sign-on."""

    to: str
    cookies: Sequence[Cookie] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """What stands anew in the element of a page with this id."""

    element: str
    template: str
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Live:
    """What is shown as it happens; None now and then shows that the connection is alive.

    It ends by itself after a minute or so: browsers ask again, and who it is is looked at again.
    """

    parts: AsyncGenerator[Part | None, None]


Handler = Callable[[Visit], Awaitable[Page | Moved | Live]]


@dataclass(frozen=True)
class PageRoute:
    """A row of the table."""

    method: str
    path: str
    who: Who
    handler: Handler
    is_secret: bool = False
    """Whether the path lets in who knows it: it stands in no log."""
    form_bytes_max: int = FORM_BYTES_MAX

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        words = _PARAMETER.split(self.path)
        parts = [
            re.escape(word) if not place % 2 else _PATTERNS.get(word, "([^/]+)")
            for place, word in enumerate(words)
        ]
        return re.compile("".join(parts))

    def match(self, path: str) -> Mapping[str, str] | None:
        """Return the parameters of a path as it came; None for another page."""
        found = self._pattern.fullmatch(path)
        names = _PARAMETER.findall(self.path)
        return None if found is None else dict(zip(names, found.groups(), strict=True))

    @property
    def shown_path(self) -> str:
        """Return what the log has of the path; "" for all of it."""
        return self.path if self.is_secret else ""


def local_path(text: str) -> str:
    r"""Return a path of this host, "" for anything that a browser may take for another's.

    `//host` and `/\host` lead elsewhere; so may what is not printed.
    """
    fits = len(text) <= NEXT_CHARACTERS_MAX and _LOCAL.fullmatch(text) is not None
    return text if fits else ""

"""The management API without HTTP, for whoever is inside: the same rows, checks and errors.

So whatever a page, or a command on the machine, can do, a program can do too, and says the same.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from treescale.auth.policy import Principal
from treescale.auth.roles import Memberships
from treescale.console.body import parse_body
from treescale.console.route import PREFIX, Answered, ApiRoute, Asked, Who, check_query, find
from treescale.errors import (
    CredentialsInvalid,
    Forbidden,
    RequestInvalid,
    TooLarge,
    Unsupported,
)

NOTHING: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks, and what they were granted."""

    principal: Principal
    is_administrator: bool = False
    held: Memberships = field(default_factory=dict)
    is_fresh: bool = True
    prove: Callable[[str, str], Awaitable[Principal]] | None = None
    is_closed: bool = True
    """Whether nothing is for who has not logged in."""


@dataclass(frozen=True, slots=True)
class Inside:
    """Asks the table."""

    routes: Sequence[ApiRoute]

    async def ask(
        self,
        who: Asking,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] = NOTHING,
        body: object = None,
    ) -> Any:
        """Return what is answered, of the type that the row gives; `path` is below PREFIX, escaped.

        `body` is anything that JSON has. Raises the errors that the API tells of.
        """
        route, parameters = find(self.routes, method, PREFIX + path)
        is_open = route.who is Who.ANYBODY or (route.who is Who.READER and not who.is_closed)
        if not is_open and who.principal.anonymous:
            raise CredentialsInvalid("sign in first")
        if route.who is Who.ADMINISTRATOR and not who.is_administrator:
            raise Forbidden("this is for administrators")
        asked = Asked(
            who.principal,
            is_administrator=who.is_administrator,
            parameters=parameters,
            query=check_query(route, query.items()),
            body=_body(route, body),
            held=who.held,
            is_fresh=who.is_fresh,
            prove=who.prove,
        )
        answered = await route.handler(asked)
        if not isinstance(answered, Answered):
            raise Unsupported("this is answered piece by piece: ask for it by HTTP")
        return answered.content


def _body(route: ApiRoute, body: object) -> Any:
    if route.takes is None:
        if body is not None:
            raise RequestInvalid("no body is taken here")
        return None
    payload = b"" if body is None else msgspec.json.encode(body)
    if len(payload) > route.body_bytes_max:
        raise TooLarge(f"this body may have at most {route.body_bytes_max} bytes")
    return parse_body(payload, route.takes)

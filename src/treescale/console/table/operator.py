"""The management API without HTTP: for a command on the machine, which works on the database.

The same table answers, by the same checks and with the same errors, so that whatever a command can
do here it can do from another machine, and says the same. Who asks is the operator, who needs no
credential and is refused nothing for want of a right.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from treescale.auth.policy import operator
from treescale.console.body import BODY_BYTES_MAX, parse_body
from treescale.console.route import PREFIX, Answered, ApiRoute, Asked, check_query, find
from treescale.errors import RequestInvalid, TooLarge, Unsupported

NO_QUERY: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True)
class Operator:
    """Asks the table as whoever works on the database: `actor` in the log of events."""

    routes: Sequence[ApiRoute]
    actor: str

    async def ask(
        self, method: str, path: str, *, query: Mapping[str, str] = NO_QUERY, body: object = None
    ) -> Any:
        """Return what is answered, as JSON has it; `path` is below PREFIX, escaped.

        Raises the errors that the API tells of.
        """
        route, parameters = find(self.routes, method, PREFIX + path)
        asked = Asked(
            operator(self.actor),
            is_administrator=True,
            parameters=parameters,
            query=check_query(route, query.items()),
            body=_body(route, body),
        )
        answered = await route.handler(asked)
        if not isinstance(answered, Answered):
            raise Unsupported("this is answered piece by piece: ask for it by HTTP")
        return msgspec.json.decode(msgspec.json.encode(answered.content))


def _body(route: ApiRoute, body: object) -> Any:
    if route.takes is None:
        if body is not None:
            raise RequestInvalid("no body is taken here")
        return None
    payload = b"" if body is None else msgspec.json.encode(body)
    if len(payload) > BODY_BYTES_MAX:
        raise TooLarge(f"this body may have at most {BODY_BYTES_MAX} bytes")
    return parse_body(payload, route.takes)

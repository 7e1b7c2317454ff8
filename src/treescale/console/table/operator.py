"""The management API for a command on the machine, which works on the database.

Who asks is the operator, who needs no credential and is refused nothing for want of a right.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from treescale.auth.policy import operator
from treescale.console.route import ApiRoute
from treescale.console.table.inside import NOTHING, Asking, Inside


@dataclass(frozen=True, slots=True)
class Operator:
    """Asks the table as whoever works on the database: `actor` in the log of events."""

    routes: Sequence[ApiRoute]
    actor: str

    async def ask(
        self, method: str, path: str, *, query: Mapping[str, str] = NOTHING, body: object = None
    ) -> Any:
        """Return what is answered, as JSON has it; `path` is below PREFIX, escaped.

        Raises the errors that the API tells of.
        """
        who = Asking(operator(self.actor), is_administrator=True)
        content = await Inside(self.routes).ask(who, method, path, query=query, body=body)
        return msgspec.json.decode(msgspec.json.encode(content))

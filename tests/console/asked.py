"""Requests of the management API, for tests of its rows."""

import json
from typing import Final

from tests.api.client import Answer, Client
from treescale.console.route import PREFIX

JSON: Final = {"Content-Type": "application/json"}


async def ask(who: Client, method: str, path: str, body: object = None, **headers: str) -> Answer:
    """Ask for a path below PREFIX, with a body as JSON if there is one."""
    data = None if body is None else json.dumps(body).encode()
    given = (who.basic() if who.user else {}) | (JSON if body is not None else {}) | headers
    return await who.raw(method, PREFIX + path, given, data)

"""`/stopz`: permission to stop a server, one at a time, for rolling restarts.

`POST` asks for it, `DELETE` gives it back; for this server, or for the one that `?server=` names.
Administrators alone may: whoever has the permission keeps all others waiting.
"""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import web

from treescale.auth.scopes import TokenScope
from treescale.errors import NameUnknown, ServerUnknown, Unsupported
from treescale.http.administrators import Administrators
from treescale.http.call import Call
from treescale.log import get_logger
from treescale.maintenance.stopping import AGAIN_SECONDS, Permission, Stopping

METHODS: Final = ("POST", "DELETE")


@dataclass(frozen=True, slots=True)
class StopDesk:
    """What answers `/stopz` on one server."""

    stopping: Stopping
    administrators: Administrators
    server_id: str
    """Of the server that is asked."""

    async def answer(self, call: Call) -> web.StreamResponse:
        """Answer one request; raises Unsupported, CredentialsInvalid, NameUnknown."""
        if call.request.method not in METHODS:
            raise Unsupported("ask with POST, give back with DELETE", allowed=METHODS)
        await self.administrators.check(call, TokenScope.API)
        word = call.parameter("server")
        try:
            server_id = await self.stopping.find(word) if word else self.server_id
            if call.request.method == "DELETE":
                await self.stopping.give_back(server_id)
                return _answered(Permission(granted=False, text="it is given back"), HTTPStatus.OK)
            permission = await self.stopping.ask(server_id)
        except ServerUnknown as error:  # of a request, and not of an administrator's command
            raise NameUnknown(str(error)) from None
        get_logger().info(
            "server.may_stop", server=server_id, granted=permission.granted, reason=permission.text
        )
        status = HTTPStatus.OK if permission.granted else HTTPStatus.SERVICE_UNAVAILABLE
        return _answered(permission, status)


def _answered(permission: Permission, status: HTTPStatus) -> web.Response:
    headers = {"Cache-Control": "no-store"}
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(round(AGAIN_SECONDS))
    body = msgspec.json.encode({"may_stop": permission.granted, "reason": permission.text})
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)

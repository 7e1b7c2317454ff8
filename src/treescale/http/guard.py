"""May this caller use this route? And if not: what would be needed, in the words of a refusal.

Missing rights and missing repositories look the same: a refusal is made from the request alone.
"""

from typing import Final

from treescale.auth.scopes import CATALOG, Action
from treescale.errors import CredentialsInvalid, Unauthorized
from treescale.http.authentication import needed_scope
from treescale.http.call import Call
from treescale.http.request_record import note_user
from treescale.http.routes import RouteTable
from treescale.oci.paths import ResourceKind

_METHOD_ACTIONS: Final = {"GET": Action.PULL, "HEAD": Action.PULL, "DELETE": Action.DELETE}
"""The right that a challenge names for methods that a resource has not; all others mean push."""


class Guard:
    """Lets callers through to the routes of a table."""

    def __init__(self, table: RouteTable) -> None:
        self._table = table

    async def admit(self, call: Call) -> None:
        """Identify the caller, and check the right that the route needs; raises Unauthorized.

        A method that the resource has not needs a right as well: whoever lacks it is not told.
        """
        resource, method = call.resource, call.request.method
        route = self._table.find(resource.kind, method)
        action = route.action if route else _METHOD_ACTIONS.get(method, Action.PUSH)
        await self.authenticate(call, action)
        if action is None or not resource.repository:
            return
        if action not in await call.caller.actions(resource.repository):
            raise Unauthorized(
                _denied(call, resource.repository, action),
                scope=self._scope(call, action),
                error="insufficient_scope",
            )

    async def authenticate(self, call: Call, action: Action | None = None) -> None:
        """Find out who the caller is; raises Unauthorized, also when nobody is named."""
        grace = call.resource.kind is ResourceKind.UPLOAD
        try:
            caller = await call.rooms.authenticator.authenticate(call.request, grace=grace)
        except Unauthorized as refused:
            scope = self._scope(call, action)
            raise Unauthorized(str(refused), scope=scope, error=refused.error) from None
        except CredentialsInvalid as refused:
            raise Unauthorized(str(refused), scope=self._scope(call, action)) from None
        if caller is None:
            scope = self._scope(call, action)
            raise Unauthorized("authentication required: log in first", scope=scope)
        call.caller = caller
        note_user(call.request, caller.user)

    def _scope(self, call: Call, action: Action | None) -> str:
        """Return the scope that a request's challenge names."""
        resource = call.resource
        if resource.kind is ResourceKind.CATALOG:
            return CATALOG
        if not resource.repository or action is None:
            return ""
        special = self._table.scopes.get(resource.kind)
        return special(call, action) if special else needed_scope(resource.repository, action)


def _denied(call: Call, repository: str, action: Action) -> str:
    """Say who may not do what, and why: from the request alone, for absent is as private."""
    caller, owner = call.caller, repository.partition("/")[0]
    if caller.could_ask(repository, action):
        return f"this token was asked for without the right to {action.value} {repository}"
    if not caller.user:
        return f"log in first: {repository} is for {owner}"
    if owner != caller.principal.home:
        return f"{caller.user} has no right to {action.value} {repository}: it is for {owner}"
    what = "robot" if caller.principal.is_robot else "access token"
    denied = f"this login has no right to {action.value} {repository}: its {what}"
    if action not in caller.principal.allow:
        allowed = ", ".join(one.value for one in Action if one in caller.principal.allow)
        return f"{denied} allows {allowed or 'nothing'} only"
    return f"{denied} is for {caller.principal.repository_glob}"

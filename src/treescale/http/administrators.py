"""Who may ask what only administrators may: those, by a password or a token with its scope.

While the database is away an administrator of the last quarter of an hour is one still, as a
credential that was proven then counts: whoever watches must see through an outage.
"""

from treescale.auth.policy import Principal
from treescale.auth.scopes import TokenScope
from treescale.clock import Clock
from treescale.errors import CredentialsInvalid, DatabaseUnavailable, UserUnknown
from treescale.http.call import Call
from treescale.http.request_record import note_user
from treescale.metadata.accounts import Users
from treescale.registry.credential_cache import AWAY_SECONDS_MAX


class Administrators:
    """The administrators, as one worker has seen them."""

    def __init__(self, users: Users, clock: Clock) -> None:
        self._users = users
        self._clock = clock
        self._seen: dict[str, float] = {}
        """When each was last seen to be one, in monotonic seconds."""

    async def check(self, call: Call, scope: TokenScope) -> None:
        """Raise CredentialsInvalid for everybody else, and for an access token without the scope.

        One that is for the registry has none, whatever it may do there.
        """
        principal = await call.rooms.authenticator.basic(call.request)
        if principal is not None:
            note_user(call.request, principal.user)
            if principal.opens(scope) and await self.has(principal):
                return
        raise CredentialsInvalid(
            "an administrator may ask this, with a password or an access token made with "
            f"--allow {scope.value}"
        )

    async def has(self, principal: Principal) -> bool:
        """Return whether this is one, or was a moment ago; raises DatabaseUnavailable."""
        if principal.is_robot:
            return False
        name = principal.user
        now = self._clock.monotonic()
        try:
            found = await self._users.get(name)
            is_one = found.admin and not found.is_suspended
        except UserUnknown:
            is_one = False
        except DatabaseUnavailable:
            if now - self._seen.get(name, float("-inf")) > AWAY_SECONDS_MAX:
                raise
            return True
        if is_one:
            self._seen[name] = now
        else:
            self._seen.pop(name, None)
        return is_one

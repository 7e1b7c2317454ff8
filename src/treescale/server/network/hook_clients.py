"""What sends webhooks, with the addresses that may be asked by then."""

from typing import Final

from treescale.clock import Clock
from treescale.config import Settings
from treescale.errors import SettingInvalid
from treescale.events.hooks.deliverer import ANSWER_BYTES_MAX
from treescale.metadata.database import Database
from treescale.metadata.events.hook_records import NETWORKS_SETTING
from treescale.outbound.client import Limits, Outbound, OutboundClient
from treescale.outbound.networks import NEVER, Networks, Target, parse_targets
from treescale.server.network.forbidden import forbidden
from treescale.server.network.outbound import outbound_of

SEND_SECONDS: Final = 15.0
LOOK_SECONDS: Final = 10.0
"""How long it is gone by what was known of networks, peers and the database's addresses."""


class HookClients:
    """Makes what sends: nothing is set up before there is something to send."""

    def __init__(self, settings: Settings, database: Database, clock: Clock) -> None:
        self._settings = settings
        self._database = database
        self._clock = clock
        self._outbound: Outbound | None = None
        self._client: OutboundClient | None = None
        self._made = 0.0

    async def client(self) -> OutboundClient:
        """Return what sends to all but what must not be asked by now."""
        now = self._clock.monotonic()
        if self._client is not None and now - self._made < LOOK_SECONDS:
            return self._client
        networks = await self._networks()
        if self._outbound is None:
            self._outbound = outbound_of(self._settings)
        limits = Limits(SEND_SECONDS, ANSWER_BYTES_MAX, cut=True)
        self._client, self._made = self._outbound.client(networks, limits), now
        return self._client

    async def _networks(self) -> Networks:
        allowed = await self._database.settings.get(NETWORKS_SETTING) or ""
        ours = await forbidden(self._settings, await self._database.servers.list())
        return Networks(_read(allowed), (*NEVER, *ours))


def _read(allowed: str) -> tuple[Target, ...]:
    """Return what a setting allows; of what cannot be read, as a later version has it, nothing."""
    try:
        return parse_targets(allowed)
    except SettingInvalid:
        return ()

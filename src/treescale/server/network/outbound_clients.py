"""What asks URLs that others chose, with the addresses that may be asked by then."""

from dataclasses import dataclass
from typing import Final

from treescale.clock import Clock
from treescale.config import Settings
from treescale.errors import SettingInvalid
from treescale.events.hooks.deliverer import ANSWER_BYTES_MAX
from treescale.metadata.database import Database
from treescale.metadata.events.hook_records import NETWORKS_SETTING
from treescale.metadata.identity.records import ISSUER_NETWORKS_SETTING
from treescale.outbound.answers import Limits
from treescale.outbound.client import Outbound, OutboundClient
from treescale.outbound.networks import NEVER, Networks, Target, parse_targets
from treescale.registry.issuers.keys import LIMITS
from treescale.server.network.forbidden import forbidden
from treescale.server.network.outbound import outbound_of

SEND_SECONDS: Final = 15.0
LOOK_SECONDS: Final = 10.0
ISSUERS_LOOK_SECONDS: Final = 1.0
"""They are asked seldom, and first by whoever is just setting them up."""


@dataclass(frozen=True, slots=True)
class Use:
    """What URLs are asked for: the setting that names private networks, and what ends a request."""

    networks_setting: str
    limits: Limits
    look_seconds: float = LOOK_SECONDS
    """How long it is gone by what was known of networks, peers and the database's addresses."""


HOOKS: Final = Use(NETWORKS_SETTING, Limits(SEND_SECONDS, ANSWER_BYTES_MAX, cut=True))
ISSUERS: Final = Use(ISSUER_NETWORKS_SETTING, LIMITS, ISSUERS_LOOK_SECONDS)


class OutboundClients:
    """Makes what asks for one use: nothing is set up before there is something to ask."""

    def __init__(self, settings: Settings, database: Database, clock: Clock, use: Use) -> None:
        self._settings = settings
        self._database = database
        self._clock = clock
        self._use = use
        self._outbound: Outbound | None = None
        self._client: OutboundClient | None = None
        self._made = 0.0

    async def client(self) -> OutboundClient:
        """Return what asks all but what must not be asked by now."""
        now = self._clock.monotonic()
        if self._client is not None and now - self._made < self._use.look_seconds:
            return self._client
        networks = await self._networks()
        if self._outbound is None:
            self._outbound = outbound_of(self._settings)
        self._client = self._outbound.client(networks, self._use.limits)
        self._made = now
        return self._client

    async def _networks(self) -> Networks:
        allowed = await self._database.settings.get(self._use.networks_setting) or ""
        ours = await forbidden(self._settings, await self._database.servers.list())
        return Networks(_read(allowed), (*NEVER, *ours), self._use.networks_setting)


def _read(allowed: str) -> tuple[Target, ...]:
    """Return what a setting allows; of what cannot be read, as a later version has it, nothing."""
    try:
        return parse_targets(allowed)
    except SettingInvalid:
        return ()

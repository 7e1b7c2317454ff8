"""The one client for requests to addresses that others chose, as this server's settings have it."""

from treescale.config import Settings
from treescale.outbound.client import Outbound


def outbound_of(settings: Settings) -> Outbound:
    """Return whom TLS trusts and which proxy connects, for all uses; raises SettingInvalid."""
    return Outbound(ca_file=settings.outbound_ca, proxy=settings.outbound_proxy)


def check_outbound(settings: Settings) -> None:
    """Raise SettingInvalid for what no request could be sent with; costs nothing when unset."""
    if settings.outbound_ca or settings.outbound_proxy:
        outbound_of(settings)

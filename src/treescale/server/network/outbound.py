"""What this server connects to by itself, beside peers and database, as its settings have it."""

from importlib.util import find_spec

from treescale.config import Settings
from treescale.errors import SettingInvalid
from treescale.events.nats.credentials import read_credentials
from treescale.events.nats.sink import Target, parse_servers
from treescale.events.nats.subjects import is_prefix
from treescale.outbound.client import Outbound


def outbound_of(settings: Settings) -> Outbound:
    """Return whom TLS trusts and which proxy connects, for all uses; raises SettingInvalid."""
    return Outbound(ca_file=settings.outbound_ca, proxy=settings.outbound_proxy)


def check_outbound(settings: Settings) -> None:
    """Raise SettingInvalid for what no request could be sent with; costs nothing when unset."""
    if settings.outbound_ca or settings.outbound_proxy:
        outbound_of(settings)
    if settings.nats:
        nats_target(settings)


def nats_target(settings: Settings) -> Target:
    """Return which NATS gets events, and as whom we go there; raises SettingInvalid."""
    if find_spec("nats") is None:
        raise SettingInvalid("nats: install treescale[nats], or unset it")
    if not is_prefix(settings.nats_subject):
        raise SettingInvalid("nats_subject: say words of letters, digits, - and _, with dots")
    file = settings.nats_credentials
    return Target(
        parse_servers(settings.nats),
        settings.nats_subject,
        read_credentials(file) if file else None,
        outbound_of(settings).tls,
    )

"""Whether other servers will find this one at the address that it gives them.

One that they do not find is up, and of no use to them. The leader looks, and not the supervisor:
a name that nobody answers for takes half a minute to look up, and the supervisor hears signals.
"""

import ssl
from typing import Final

from treescale.clock import Clock
from treescale.log import get_logger
from treescale.peer.health import why_unreachable
from treescale.peer.signing import PeerKeys

_ADVICE: Final = (
    "other servers look for this one there, and it does not even reach itself. Say with "
    "--advertise URL how they reach it, on the port of --listen; see that the name is known, that "
    "the scheme is https with TLS and http without, and the firewall"
)


async def look_for_itself(
    server_id: str, address: str, keys: PeerKeys, clock: Clock, tls: ssl.SSLContext
) -> None:
    """Say so when other servers will not find this one at its address."""
    reason = await why_unreachable(server_id, address, keys, clock, tls)
    if reason is not None:
        get_logger().warning("advertise.unreached", url=address, reason=reason, advice=_ADVICE)

"""A server that others will not find says so."""

from structlog.testing import capture_logs

from treescale.clock import SystemClock
from treescale.peer.connection import encrypting
from treescale.peer.signing import PeerKeys
from treescale.server.network.own_address import look_for_itself

SERVER = "0" * 32


async def test_a_server_that_others_will_not_find_says_so() -> None:
    keys = PeerKeys(b"k" * 32)
    with capture_logs() as told:
        await look_for_itself(SERVER, "http://127.0.0.1:1", keys, SystemClock(), encrypting())
    (line,) = told
    assert (line["event"], line["url"]) == ("advertise.unreached", "http://127.0.0.1:1")
    assert "no connection" in line["reason"]
    assert "--advertise" in line["advice"]

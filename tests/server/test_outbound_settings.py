"""What the server's settings make of the one client for requests of its own."""

from pathlib import Path

import pytest

from tests.certificates import Authority
from treescale.config import Settings
from treescale.errors import SettingInvalid
from treescale.outbound.client import Outbound
from treescale.server.network.outbound import check_outbound, outbound_of


def test_what_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(Authority().pem)
    good = Settings(outbound_ca=str(tmp_path / "ca.pem"), outbound_proxy="http://proxy:3128")
    check_outbound(good)
    check_outbound(Settings())
    assert isinstance(outbound_of(good), Outbound)
    for bad, key in (
        (Settings(outbound_ca=str(tmp_path / "none.pem")), "outbound_ca"),
        (Settings(outbound_proxy="proxy:3128"), "outbound_proxy"),
    ):
        with pytest.raises(SettingInvalid, match=key):
            check_outbound(bad)

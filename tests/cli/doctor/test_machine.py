"""Ports that are free, ours, somebody else's, or cannot be had; and limits."""

import errno
import os
import socket
from pathlib import Path

import pytest

from tests.tables import each_row
from treescale.cli.doctor.finding import State
from treescale.cli.doctor.machine import _taken, addresses, file_limit, listening, port
from treescale.config import load

TABLE = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt uid inode
   0: 0100007F:1388 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1
   1: 0100007F:1388 0100007F:E000 01 00000000:00000000 00:00000000 00000000     0        0 4712 1
   2: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1
"""


def test_every_address_is_looked_at() -> None:
    flags = {
        "listen": ("127.0.0.1:5000", "unix:/run/x"),
        "listen_proxy": ("127.0.0.1:5001",),
        "redirect_listen": ("127.0.0.1:80",),
        "trusted_proxies": ("127.0.0.1",),
        "tls_self_signed": True,
    }
    assert [*addresses(load(flags, {}).settings)] == [
        ("--listen", "127.0.0.1:5000"),
        ("--listen", "unix:/run/x"),
        ("--listen-proxy", "127.0.0.1:5001"),
        ("--redirect-listen", "127.0.0.1:80"),
    ]


def test_a_port_that_is_free_is_left_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        text = f"127.0.0.1:{listener.getsockname()[1]}"
    assert port("--listen", text).state is State.OK
    assert port("--listen", text).found == "free"


def test_a_port_of_another_program_is_named_and_one_of_ours_is_fine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        text = f"127.0.0.1:{listener.getsockname()[1]}"
        found = port("--listen", text)
        own = Path("/proc/self/comm").read_text().strip()
        assert (found.state, found.found) == (State.FAILURE, f"in use by {own}")
        assert "end that, or say another --listen" in found.advice
        monkeypatch.setattr("treescale.cli.doctor.machine._OURS", (own,))
        assert port("--listen", text).state is State.OK
        monkeypatch.setattr("treescale.cli.doctor.machine._holder", lambda _: "")
        assert "another user" in port("--listen", text).found


@each_row(
    ("number", "advice"),
    [
        (errno.EACCES, "CAP_NET_BIND_SERVICE"),
        (errno.EADDRNOTAVAIL, "an address of this machine"),
        (errno.EADDRINUSE, "end that"),
    ],
)
def test_what_cannot_be_bound(number: int, advice: str) -> None:
    found = _taken("name", "--listen", 1, OSError(number, os.strerror(number)))
    assert found.state is State.FAILURE
    assert advice in found.advice


def test_addresses_that_are_nobodys(tmp_path: Path) -> None:
    elsewhere = port("--listen", "192.0.2.1:5000")
    assert (elsewhere.state, elsewhere.advice[:12]) == (State.FAILURE, "say --listen")
    assert port("--listen", f"unix:{tmp_path}/x").state is State.OK
    assert port("--listen", f"unix:{tmp_path}/no/x").state is State.FAILURE


def test_who_listens_is_read_from_the_kernel_s_table() -> None:
    assert listening(TABLE, 5000) == {"4711"}
    assert listening(TABLE, 80) == {"4713"}
    assert listening(TABLE, 1) == set()


def test_few_files_are_warned_of() -> None:
    low, high = file_limit(1024), file_limit(65_536)
    assert (low.state, high.state) == (State.WARNING, State.OK)
    assert "LimitNOFILE" in low.advice

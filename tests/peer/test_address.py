"""An address that somebody typed, or that stands in a row: one that can work, or why it cannot."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tables import each_row
from treescale.errors import Unreachable
from treescale.peer.address import PeerAddress, reachable, read_address

GOOD = [
    ("http://server1:5000", PeerAddress("http", "server1", 5000), "http://server1:5000"),
    ("HTTPS://Server1.Example:443/", PeerAddress("https", "server1.example", 443), None),
    ("https://server1.example", PeerAddress("https", "server1.example", 443), None),
    ("http://10.0.0.7", PeerAddress("http", "10.0.0.7", 80), "http://10.0.0.7"),
    ("http://[FD00::7]:5000", PeerAddress("http", "fd00::7", 5000), "http://[fd00::7]:5000"),
    ("http://[::1]", PeerAddress("http", "::1", 80), "http://[::1]"),
    ("http://my_service:5000", PeerAddress("http", "my_service", 5000), None),
    ("http://3com.example:1", PeerAddress("http", "3com.example", 1), None),
    ("http://server1.:65535", PeerAddress("http", "server1.", 65535), None),
    ("http://bücher.example:5", PeerAddress("http", "xn--bcher-kva.example", 5), None),
    (f"http://{'a' * 63}.x:5", PeerAddress("http", f"{'a' * 63}.x", 5), None),
]

BAD = [
    ("", "say http://"),
    ("   ", "say http://"),
    ("server1:5000", "say http://"),
    ("//server1:5000", "say http://"),
    ("ftp://server1:5000", "say http://"),
    ("http://server1:5000/registry", "say http://"),
    ("http://server1:5000/?a", "say http://"),
    ("http://server1:5000#a", "say http://"),
    ("http://me:secret@server1:5000", "say http://"),
    (f"http://{'a.' * 300}x:5000", "say http://"),
    ("http://", "host is missing"),
    ("http://:5000", "host is missing"),
    ("http://ts-2..x:5000", "'ts-2..x' has a dot too many"),
    ("http://.x:5000", "dot too many"),
    ("http://x..:5000", "dot too many"),
    ("http://.:5000", "dot too many"),
    (f"http://{'a' * 64}:5000", "up to 63 characters.*has 64"),
    (f"http://{'abcdefghi.' * 26}x:5000", "up to 253 characters"),
    ("http://-server:5000", "is no name"),
    ("http://server-:5000", "is no name"),
    ("http://ser ver:5000", "is no name"),
    (" http://server", "say http://"),
    ("http://server ", "is no name"),
    ("http://ser\tver:5000", "is no name"),
    ("http://ser\nver:5000", "is no name"),
    ("http://server\n", "is no name"),
    ("http://server:5000\n", "the port"),
    ("http://ser\0ver:5000", "is no name"),
    ("http://ser%76er:5000", "is no name"),
    ("http://ser\\ver:5000", "is no name"),
    ("http://ser;ver:5000", "is no name"),
    ("http://\udce9:5000", "is no name"),
    ("http://☃☃..☃:5000", "no name that can be looked up|dot too many|is no name"),
    (f"http://{'é' * 300}:5000", "is no name|no name that can|up to"),
    ("http://server:0", "the port '0' is none"),
    ("http://server:", "the port '' is none"),
    ("http://server:65536", "the port '65536' is none"),
    ("http://server:99999", "from 1 to 65535"),
    ("http://server:+80", "the port"),
    ("http://server:8_0", "the port"),
    ("http://server:\u0665", "the port"),
    ("http://server:80:90", "say http://"),
    ("http://1.2.3:5000", "no IPv4 address"),
    ("http://1.2.3.256:5000", "no IPv4 address"),
    ("http://010.0.0.1:5000", "no IPv4 address"),
    ("http://0x7f.1:5000", "no IPv4 address"),
    ("http://2130706433:5000", "no IPv4 address"),
    ("http://0.0.0.0:5000", "every address of a machine"),
    ("http://[::]:5000", "every address of a machine"),
    ("http://224.0.0.1:5000", "no address of one machine"),
    ("http://255.255.255.255:5000", "no address of one machine"),
    ("http://[ff02::1]:5000", "no address of one machine"),
    ("http://[fe80::1%eth0]:5000", "a zone"),
    ("http://[::g]:5000", "no IPv6 address"),
    ("http://[]:5000", "no IPv6 address"),
    ("http://[server1]:5000", "no IPv6 address"),
    ("http://::1:5000", "say http://"),
]


@each_row(("text", "address", "url"), GOOD)
def test_what_can_work(text: str, address: PeerAddress, url: str | None) -> None:
    assert read_address(text) == address
    assert read_address(address.url) == address
    assert url in (None, address.url)
    assert reachable(text) == address


@each_row(("text", "why"), BAD)
def test_what_cannot_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_address(text)
    with pytest.raises(Unreachable, match="cannot work"):
        reachable(text)


PIECES = st.sampled_from(
    ["http", "https", "://", "/", ":", ".", "..", "-", "[", "]", "%", "@", "?", "#", "a", "7", "é"]
)


@given(st.one_of(st.text(), st.lists(PIECES).map("".join), st.text().map("http://{}:5000".format)))
def test_any_text_is_an_address_or_a_reason(text: str) -> None:
    try:
        address = read_address(text)
    except ValueError:
        return
    assert address.authority.isascii()
    assert address.authority.isprintable()
    assert " " not in address.authority
    address.host.encode("idna")  # what asyncio does with it
    assert read_address(address.url) == address

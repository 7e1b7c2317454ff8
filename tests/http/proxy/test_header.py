"""The PROXY protocol's header: what is one, what is none, and what is not here yet."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tables import each_row
from treescale.http.proxy.header import (
    HEADER_BYTES_MAX,
    LENGTH_MAX,
    LINE_BYTES_MAX,
    SIGNATURE,
    NotProxied,
    ProxyHeader,
    read_header,
)

V4 = bytes([203, 0, 113, 7, 10, 0, 0, 1])
V6 = ipaddress.ip_address("2001:db8::7").packed + ipaddress.ip_address("::1").packed
PORTS = (4711).to_bytes(2) + (443).to_bytes(2)
REST = b"GET / HTTP/1.1\r\n"


def binary(command: int, family: int, body: bytes, *, length: int | None = None) -> bytes:
    said = len(body) if length is None else length
    return SIGNATURE + bytes([command, family]) + said.to_bytes(2) + body


GOOD = [
    (b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 443\r\n", ("203.0.113.7", 4711)),
    (b"PROXY TCP6 2001:db8::7 ::1 4711 443\r\n", ("2001:db8::7", 4711)),
    (b"PROXY TCP6 ::ffff:203.0.113.7 ::1 4711 443\r\n", ("203.0.113.7", 4711)),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN anything that fits\r\n", None),
    (binary(0x21, 0x11, V4 + PORTS), ("203.0.113.7", 4711)),
    (binary(0x21, 0x21, V6 + PORTS), ("2001:db8::7", 4711)),
    (binary(0x21, 0x11, V4 + PORTS + b"\x04\x00\x03tlv" * 100), ("203.0.113.7", 4711)),
    (binary(0x20, 0x00, b""), None),
    (binary(0x20, 0x11, V4 + PORTS), None),
    (binary(0x21, 0x00, b""), None),
    (binary(0x21, 0x31, b"/" * 216), None),
    (binary(0x21, 0x11, (V4 + PORTS).ljust(LENGTH_MAX, b"\0")), ("203.0.113.7", 4711)),
]


@each_row(("data", "source"), GOOD)
def test_a_whole_header_is_read_and_what_follows_is_left(
    data: bytes, source: tuple[str, int] | None
) -> None:
    expected = source and (ipaddress.ip_address(source[0]), source[1])
    assert read_header(data) == read_header(data + REST) == ProxyHeader(len(data), expected)
    assert len(data) <= HEADER_BYTES_MAX


@each_row("data", [data for data, _ in GOOD])
def test_of_a_header_that_is_not_whole_more_must_come(data: bytes) -> None:
    for size in range(min(len(data), 300)):
        assert read_header(data[:size]) is None


@each_row(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01",
        b"PROXY\tTCP4",
        b"PROXY TCP4 203.0.113.7 10.0.0.1 4711\r\n",
        b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 443 5\r\n",
        b"PROXY TCP4 203.0.113.7  10.0.0.1 4711 443\r\n",
        b"PROXY TCP4 2001:db8::7 ::1 4711 443\r\n",
        b"PROXY TCP6 203.0.113.7 10.0.0.1 4711 443\r\n",
        b"PROXY TCP6 fe80::1%eth0 ::1 4711 443\r\n",
        b"PROXY TCP4 203.0.113.7 10.0.0.1 65536 443\r\n",
        b"PROXY TCP4 203.0.113.7 10.0.0.1 -1 443\r\n",
        "PROXY TCP4 203.0.113.7 10.0.0.1 \N{SUPERSCRIPT TWO} 443\r\n".encode(),
        b"PROXY UDP4 203.0.113.7 10.0.0.1 1 2\r\n",
        b"PROXY \r\n",
        b"PROXY UNKNOWN\n",
        b"PROXY " + b"x" * LINE_BYTES_MAX,
        binary(0x22, 0x11, V4 + PORTS),
        binary(0x31, 0x11, V4 + PORTS),
        binary(0x21, 0x12, V4 + PORTS),
        binary(0x21, 0x11, V4 + PORTS[:3]),
        binary(0x21, 0x21, V4 + PORTS),
        binary(0x21, 0x11, b"", length=LENGTH_MAX + 1),
        binary(0x20, 0x00, b"", length=65_535),
    ],
)
def test_what_is_no_header_is_refused(data: bytes) -> None:
    with pytest.raises(NotProxied):
        read_header(data)


@given(st.one_of(st.binary(max_size=300), st.binary(max_size=40).map(lambda end: SIGNATURE + end)))
def test_any_bytes_are_a_header_or_none_or_too_few(data: bytes) -> None:
    try:
        found = read_header(data)
    except NotProxied:
        return
    assert found is None or 0 < found.length <= len(data)


@given(
    data=st.sampled_from([data for data, _ in GOOD]), at=st.integers(0, 400), bit=st.integers(0, 7)
)
def test_a_flipped_bit_is_no_crash(data: bytes, at: int, bit: int) -> None:
    changed = bytearray(data)
    changed[at % len(data)] ^= 1 << bit
    try:
        found = read_header(bytes(changed))
    except NotProxied:
        return
    assert found is None or found.length <= len(data)

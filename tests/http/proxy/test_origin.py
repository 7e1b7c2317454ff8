"""Who the client is behind proxies, and under which address it knows us."""

import ipaddress
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from multidict import CIMultiDict

from tests.tables import each_row
from treescale.http.proxy.origin import (
    Forwarding,
    Proxies,
    origin,
    parse_address,
    parse_forwarded,
    parse_host,
    parse_network,
    plain_address,
)

PROXIES = Proxies([parse_network("10.0.0.0/8"), parse_network("fd00::/8")])
PEER = ipaddress.ip_address("10.0.0.3")
STRANGER = ipaddress.ip_address("198.51.100.9")
CLIENT = "203.0.113.7"


def forwarding(*lines: tuple[str, str], peer: str = "10.0.0.3") -> Forwarding:
    return PROXIES.forwarding(plain_address(peer), CIMultiDict(lines))


def client(*values: str, name: str = "X-Forwarded-For") -> str | None:
    found = forwarding(*((name, value) for value in values)).client
    return None if found is None else str(found)


@each_row(
    ("lines", "expected"),
    [
        ([CLIENT], CLIENT),
        ([f"198.51.100.1, {CLIENT}"], CLIENT),
        (["198.51.100.1", CLIENT], CLIENT),
        ([f"198.51.100.1, {CLIENT}, 10.0.0.9"], CLIENT),
        (["198.51.100.1", f"{CLIENT}, 10.0.0.9", "10.1.2.3, fd00::1"], CLIENT),
        ([f"{CLIENT}:4711"], CLIENT),
        ([f"{CLIENT},"], CLIENT),
        ([f" ,\t{CLIENT} , "], CLIENT),
        ([f'"{CLIENT}"'], CLIENT),
        (["[2001:db8::7]:80"], "2001:db8::7"),
        (["[2001:db8::7]"], "2001:db8::7"),
        (["2001:DB8:0::7"], "2001:db8::7"),
        (['"[2001:db8::7]:80"'], "2001:db8::7"),
        (["fe80::1%eth0"], "fe80::1"),
        ([f"::ffff:{CLIENT}"], CLIENT),
        ([f"[::ffff:{CLIENT}]:1"], CLIENT),
        ([f"{CLIENT}, ::ffff:10.0.0.1"], CLIENT),
        (["10.0.0.8, 10.0.0.9"], "10.0.0.8"),  # within the trusted network: the farthest
        ([f"{CLIENT}, garbage, 10.0.0.9"], "10.0.0.9"),
        ([f"{CLIENT}, unknown"], None),
        ([f"{CLIENT}, 1.2.3.4.5"], None),
        ([f"{CLIENT}, [::1"], None),
        ([f"{CLIENT}, 1.2.3.4:"], None),
        ([f"{CLIENT}, 1.2.3.4:99x"], None),
        ([f"{CLIENT}, {'1' * 200}"], None),
        ([", ".join([CLIENT, *["10.0.0.9"] * 40])], "10.0.0.9"),
        ([""], None),
    ],
)
def test_the_client_is_the_last_hop_that_is_no_proxy(
    lines: Sequence[str], expected: str | None
) -> None:
    assert client(*lines) == expected


@each_row(
    ("lines", "expected"),
    [
        ([f"for={CLIENT}"], CLIENT),
        ([f'For="{CLIENT}:47";proto=http'], CLIENT),
        (['for="[2001:db8::7]:4711"'], "2001:db8::7"),
        (['for="[2001:db8::7]:_p"'], "2001:db8::7"),
        (["for=[2001:db8::7]"], "2001:db8::7"),
        ([f"for=1.1.1.1, for={CLIENT};by=10.0.0.9, for=10.0.0.9"], CLIENT),
        (["for=1.1.1.1", f"for={CLIENT}", "for=10.0.0.9;;proto=https;"], CLIENT),
        ([f'for={CLIENT}, for="_hidden", for=10.0.0.9'], "10.0.0.9"),
        ([f"for={CLIENT}, for=unknown"], None),
        ([f"for={CLIENT}, proto=https"], None),
        ([f"for={CLIENT}, broken"], None),
        ([f"for={CLIENT};for=1.1.1.1"], None),
        ([f'for="1.1.1.1, for={CLIENT}'], None),  # a quote that the client left open
        (['for="1.1.1.1', f"for={CLIENT}"], CLIENT),  # in a line of its own
        ([f'for={CLIENT};host="a\\"b,c"'], CLIENT),
    ],
)
def test_the_same_in_the_words_of_rfc_7239(lines: Sequence[str], expected: str | None) -> None:
    assert client(*lines, name="Forwarded") == expected


@each_row(
    ("lines", "expected"),
    [
        ({"X-Forwarded-For": CLIENT, "Forwarded": f"for={CLIENT}"}, CLIENT),
        ({"X-Forwarded-For": CLIENT, "Forwarded": "for=1.1.1.1"}, None),
        ({"X-Forwarded-For": "1.1.1.1", "Forwarded": f"for={CLIENT}"}, None),
        ({"X-Forwarded-Proto": "https", "Forwarded": "for=1.1.1.1"}, None),
    ],
)
def test_two_kinds_of_headers_that_differ_name_nobody(
    lines: dict[str, str], expected: str | None
) -> None:
    """One was written by the client itself; whichever it is, it does not get to choose."""
    found = forwarding(*lines.items())
    assert (None if found.client is None else str(found.client)) == expected
    assert found.contradicts == (expected is None)


def test_of_a_stranger_nothing_counts() -> None:
    lines = [
        ("X-Forwarded-For", CLIENT),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "evil.example"),
        ("X-Forwarded-Port", "1"),
        ("Forwarded", f"for={CLIENT};host=evil.example;proto=https"),
    ]
    assert forwarding(*lines, peer=str(STRANGER)) == Forwarding()
    assert Proxies().forwarding(PEER, CIMultiDict(lines)) == Forwarding()
    assert forwarding(*lines).scheme == "https", "the control"


def test_a_unix_socket_is_a_trusted_peer() -> None:
    found = Proxies().forwarding(None, CIMultiDict({"X-Forwarded-For": CLIENT}))
    assert str(found.client) == CLIENT


@each_row(
    ("lines", "expected"),
    [
        ([("X-Forwarded-Proto", "https")], "https://registry.example"),
        ([("X-Forwarded-Proto", "HTTPS")], "https://registry.example"),
        ([("X-Forwarded-Proto", "javascript")], "http://registry.example"),
        # Each proxy appends: what the farthest of ours saw.
        (
            [("X-Forwarded-For", f"{CLIENT}, 10.0.0.2"), ("X-Forwarded-Proto", "https, http")],
            "https://registry.example",
        ),
        # The client wrote the first entry, the only proxy the second.
        (
            [("X-Forwarded-For", f"1.1.1.1, {CLIENT}"), ("X-Forwarded-Proto", "http, https")],
            "https://registry.example",
        ),
        # Two proxies, one entry: the first set it, the second passed it on.
        (
            [("X-Forwarded-For", f"{CLIENT}, 10.0.0.2"), ("X-Forwarded-Proto", "https")],
            "https://registry.example",
        ),
        (
            [("X-Forwarded-Host", "a.example, b.example"), ("X-Forwarded-For", CLIENT)],
            "http://b.example",
        ),
        (
            [
                ("X-Forwarded-Host", "a.example"),
                ("X-Forwarded-Host", "b.example"),
                ("X-Forwarded-For", f"{CLIENT}, 10.0.0.2"),
            ],
            "http://a.example",
        ),
        ([("X-Forwarded-Host", "[2001:DB8::1]:8443")], "http://[2001:db8::1]:8443"),
        ([("X-Forwarded-Host", "[::]")], "http://[::]"),
        ([("X-Forwarded-Host", "[1.2.3.4]")], "http://registry.example"),
        ([("X-Forwarded-Host", 'evil"x')], "http://registry.example"),
        ([("X-Forwarded-Host", "user@evil")], "http://registry.example"),
        ([("X-Forwarded-Host", "2001:db8::1")], "http://registry.example"),
        ([("X-Forwarded-Host", "a.example:0")], "http://registry.example"),
        ([("X-Forwarded-Host", "a.example:65536")], "http://registry.example"),
        ([("X-Forwarded-Host", "a..b")], "http://registry.example"),
        ([("X-Forwarded-Host", "300.1.1.1")], "http://registry.example"),
        ([("X-Forwarded-Host", "a.example:")], "http://a.example"),
        (
            [("X-Forwarded-Proto", "https"), ("X-Forwarded-Port", "8443")],
            "https://registry.example:8443",
        ),
        (
            [("X-Forwarded-Proto", "https"), ("X-Forwarded-Port", "443")],
            "https://registry.example",
        ),
        (
            [("X-Forwarded-Host", "a.example:5000"), ("X-Forwarded-Port", "8443")],
            "http://a.example:5000",
        ),
        ([("X-Forwarded-Host", "[::1]"), ("X-Forwarded-Port", "8443")], "http://[::1]:8443"),
        ([("X-Forwarded-Port", "99999")], "http://registry.example"),
        (
            [("Forwarded", f'for={CLIENT};proto=https;host="a.example:8443"')],
            "https://a.example:8443",
        ),
        (
            [("Forwarded", f"for={CLIENT};proto=https;host=a.example, for=10.0.0.2;proto=http")],
            "https://a.example",
        ),
        (
            [("Forwarded", f"proto=http;host=evil.example, for={CLIENT};proto=https")],
            "https://registry.example",
        ),
        (
            [("Forwarded", f'for={CLIENT};proto=https;host="[2001:db8::1]"')],
            "https://[2001:db8::1]",
        ),
        (
            [("X-Forwarded-Proto", "https"), ("Forwarded", "host=a.example;proto=http")],
            "https://a.example",
        ),
    ],
)
def test_the_origin_is_what_the_client_typed(lines: list[tuple[str, str]], expected: str) -> None:
    found = origin(
        forwarding(*lines), secure=False, host="registry.example", own=("10.1.1.1", 5000)
    )
    assert found == expected


@each_row(
    ("own", "expected"),
    [
        (("10.1.1.1", 5000), "http://10.1.1.1:5000"),
        (("::1", 5000), "http://[::1]:5000"),
        (("::ffff:10.1.1.1", 5000), "http://10.1.1.1:5000"),
        (("fe80::1%eth0", 5000), "http://[fe80::1]:5000"),
        (None, "http://localhost"),
    ],
)
def test_without_a_usable_host_it_is_this_end_of_the_connection(
    own: tuple[str, int] | None, expected: str
) -> None:
    for host in (None, "", "a b", "host/path", "x" * 300):
        assert origin(Forwarding(), secure=False, host=host, own=own) == expected


@each_row(
    ("text", "network"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.0.0.5", "10.0.0.5/32"),
        ("fd00::1", "fd00::1/128"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        (" 10.0.0.5 ", "10.0.0.5/32"),
    ],
)
def test_networks_and_single_addresses(text: str, network: str) -> None:
    assert str(parse_network(text)) == network


@each_row(
    ("text", "advice"),
    [
        ("10.0.0.5/8", "say 10.0.0.5 or 10.0.0.0/8"),
        ("proxy.example", "neither an address"),
        ("10.0.0.0/33", "neither an address"),
        ("", "neither an address"),
    ],
)
def test_networks_that_are_none_are_refused_with_advice(text: str, advice: str) -> None:
    with pytest.raises(ValueError, match=re.escape(advice)):
        parse_network(text)


WORDS = st.sampled_from(
    [
        *("10.0.0.2", "unknown", "_x", '"', "[", "]", ",", ";", ":", "=", "for=", "proto=https"),
        *("host=", "\\", "::1", ":80", "%", "a.example"),
        *(CLIENT, " ", "\t", "[2001:db8::1]:80", "::ffff:1.2.3.4"),
    ]
)
TEXTS = st.one_of(st.text(max_size=80), st.lists(WORDS, max_size=12).map("".join))
NAMES = st.sampled_from(
    ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "Forwarded"]
)


@given(lines=st.lists(st.tuples(NAMES, TEXTS), max_size=6), host=st.none() | TEXTS)
@example(lines=[("Forwarded", 'for="')], host="[::]:5000")
def test_anything_gives_one_valid_url(lines: list[tuple[str, str]], host: str | None) -> None:
    found = forwarding(*lines)
    url = origin(found, secure=True, host=host, own=("::1", 5000))
    parts = urlsplit(url)
    assert parts.scheme in ("http", "https")
    assert parts.hostname
    assert parts.port is None or 0 < parts.port < 65536
    assert url == f"{parts.scheme}://{parts.netloc}"
    assert url.isascii()
    assert not set(url) & set(' "\\,;\t\r\n')


@given(made_up=st.lists(TEXTS.filter(lambda text: text.count('"') % 2 == 0), max_size=5))
def test_what_the_client_wrote_itself_never_counts(made_up: list[str]) -> None:
    """The proxies add to its lines, or write lines of their own after them."""
    assert client(*made_up, f"{CLIENT}, 10.0.0.2", "10.0.0.4") == CLIENT
    assert client(", ".join([*made_up, CLIENT, "10.0.0.2"])) == CLIENT
    assert client(*made_up, f"for={CLIENT}", "for=10.0.0.2", name="Forwarded") == CLIENT


@given(TEXTS)
def test_any_text_is_read_or_is_nothing(text: str) -> None:
    address = parse_address(text)
    assert address is None or plain_address(str(address)) == address
    host = parse_host(text)
    assert host is None or parse_host(host) == host
    for hop in parse_forwarded(text):
        parse_address(hop.client)


def test_a_long_list_costs_little() -> None:
    lines = [("X-Forwarded-For", ", ".join(["10.0.0.2"] * 5000))] * 5
    assert str(forwarding(*lines).client) == "10.0.0.2"

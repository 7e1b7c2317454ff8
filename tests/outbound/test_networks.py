"""Which addresses may be asked: public ones and what was allowed, and some never."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tables import each_row
from treescale.errors import SettingInvalid
from treescale.outbound.networks import (
    NETWORKS_MAX,
    NEVER,
    Networks,
    check_allowed,
    parse_targets,
)

EVERYTHING = Networks(parse_targets("0.0.0.0/0,::/0"))
PUBLIC = (
    "93.184.216.34",
    "8.8.8.8",
    "192.0.1.1",
    "2606:2800:220:1::1",
    "2a00:1450::1",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2600:1f00::5efe:808:808",
)
PRIVATE = (
    "10.0.0.1",
    "172.16.5.5",
    "192.168.1.1",
    "100.64.0.1",
    "198.18.0.1",
    "fd00::1",
    "fec0::1",
    "::ffff:10.0.0.1",
    "2002:a00:1::1",
    "64:ff9b::a00:1",
    "::ffff:0:10.0.0.1",
    "64:ff9b:1::a00:1",
    "2001:db8::1",
    "3fff::1",
    "5f00::1",
    "100:0:0:1::1",
    "::ffff:0:0:808:808",
    "4000::1",
    "192.0.0.8",
    "192.88.99.1",
    "2600:1f00::5efe:a00:1",
    "2600:1f00::200:5efe:c0a8:101",
)
ALWAYS = (
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",  # noqa: S104  it is refused
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "2002:7f00:1::1",
    "64:ff9b::7f00:1",
    "::ffff:0:127.0.0.1",
    "::127.0.0.1",
    "169.254.169.254",
    "::ffff:169.254.169.254",
    "fe80::1",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "fd20:ce::254",
    "168.63.129.16",
    "::ffff:168.63.129.16",
    "2600:1f00::5efe:7f00:1",
    "2600:1f00::200:5efe:a9fe:a9fe",
    "100.100.100.200",
    "224.0.0.1",
    "ff02::1",
    "255.255.255.255",
)


@each_row("address", PUBLIC)
def test_public_addresses_may_be_asked(address: str) -> None:
    assert Networks().refusal(address, 443) == ""


@each_row("address", PRIVATE)
def test_private_ones_may_be_asked_where_that_was_allowed(address: str) -> None:
    assert Networks().refusal(address, 443) == "in a private network"
    assert EVERYTHING.refusal(address, 443) == ""


@each_row("address", ALWAYS)
def test_some_may_never_be_asked_whatever_was_allowed(address: str) -> None:
    assert Networks().refusal(address, 443)
    if address != "::127.0.0.1":  # of nobody any more: it is not this machine
        assert EVERYTHING.refusal(address, 443)


def test_a_network_may_be_allowed_for_one_port() -> None:
    networks = Networks(parse_targets("10.1.0.0/16:8080, [fd00:1::/32]:443,192.168.1.5"))
    for host, port, may in (
        ("10.1.2.3", 8080, True),
        ("10.1.2.3", 8081, False),
        ("10.2.2.3", 8080, False),
        ("fd00:1::5", 443, True),
        ("fd00:1::5", 80, False),
        ("192.168.1.5", 1, True),
        ("192.168.1.6", 1, False),
    ):
        assert (networks.refusal(host, port) == "") is may, (host, port)


@each_row(
    "text",
    [
        "10.0.0.1/8",
        "10.0.0.0/33",
        "host.example",
        "10.0.0.0/8:0",
        "10.0.0.0/8:65536",
        "10.0.0.0/8:http",
        "10.0.0.0/8:",
        "[fd00::/8",
        "[fd00::/8]443",
        "[fd00::/8]:",
        ",",
        "10.0.0.0/8,",
        ",".join(["10.0.0.0/8"] * (NETWORKS_MAX + 1)),
    ],
)
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(SettingInvalid):
        parse_targets(text)


def test_nothing_is_no_network() -> None:
    assert parse_targets("") == parse_targets("  ") == ()


@given(st.ip_addresses(), st.integers(1, 65_535))
def test_what_is_never_asked_is_so_in_every_form(address: object, port: int) -> None:
    text = str(address)
    if any(one.target.covers(address, port) for one in NEVER):  # type: ignore[arg-type]
        assert EVERYTHING.refusal(text, port)
        if "." in text:
            assert EVERYTHING.refusal(f"::ffff:{text}", port)


@given(st.text(max_size=60))
def test_any_text_is_networks_or_an_error_of_ours(text: str) -> None:
    try:
        parse_targets(text)
    except SettingInvalid:
        return


def test_what_is_no_address_is_refused() -> None:
    assert Networks().refusal("example.com", 80) == "no IP address"


@each_row("text", [*(str(one.target.network) for one in NEVER), "127.0.0.1:9000", "[::1]:80"])
def test_what_is_never_asked_is_not_allowed_in_vain(text: str) -> None:
    with pytest.raises(SettingInvalid, match="never asked"):
        check_allowed(parse_targets(f"10.0.0.0/8,{text}"))


def test_what_is_allowed_in_part_is_allowed() -> None:
    check_allowed(parse_targets("0.0.0.0/0,::/0,10.0.0.0/8,192.168.1.5:8080,[fd00::/8]:443"))

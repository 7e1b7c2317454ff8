"""What this machine calls itself, read from what the kernel and /etc/hosts say."""

import ipaddress

from treescale.server.network import machine

TRIE = """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
Local:
  +-- 10.0.0.0/24 2 0 2
     |-- 10.0.0.0
        /24 link UNICAST
     |-- 10.0.0.9
        /32 host LOCAL
     |-- 10.0.0.255
        /32 link BROADCAST
     |-- 127.0.0.1
        /32 host LOCAL
"""
TABLE = """00000000000000000000000000000001 01 80 10 80       lo
20010db8000000000000000000000009 02 40 00 00     eth0
20010db80000000000000000000000aa 02 40 00 01     eth0
20010db80000000000000000000000bb 02 40 00 20     eth0
fe800000000000000000000000000009 02 40 20 80     eth0
"""
HOSTS = """127.0.0.1 localhost
127.0.1.1 s1.example s1  # this machine
10.0.0.9 registry.example
10.0.0.10 another.example
"""


def test_addresses_of_ipv4() -> None:
    assert machine.ipv4_addresses(TRIE) == ["10.0.0.9", "127.0.0.1"]
    assert machine.ipv4_addresses("") == []


def test_of_ipv6_only_those_that_last() -> None:
    assert machine.ipv6_addresses(TABLE) == ["2001:db8::9"]
    assert machine.ipv6_addresses("nonsense") == []


def test_names_of_its_own() -> None:
    found = machine.host_names(HOSTS, {"s1", "10.0.0.9"})
    assert found == ["s1.example", "s1", "registry.example"]


def test_this_machine() -> None:
    for address in machine.addresses():
        assert not ipaddress.ip_address(address).is_loopback
    assert machine.names()
    outward = machine.address_for_others()
    assert outward is None or outward in machine.addresses()

"""A network of the test's own: a bridge, and namespaces on it, each a machine with an address.

Addresses are of 198.18.0.0/15, which is set aside for tests of networks (RFC 2544). Names come
from the process id and a letter, so neither test processes nor the networks of one meet. Everything
is gone when the Network is left.
"""

import os
from contextlib import ExitStack
from itertools import cycle
from types import TracebackType
from typing import Self

from tests.functional.programs import in_namespace, outcome, run

SUBNETS = 512
_letters = cycle("ghijkmopqrstuvxyz")


class Network:
    """A context manager: within it the bridge is there, and `machine` adds to it."""

    def __init__(self) -> None:
        self._prefix = f"ts{os.getpid():x}{next(_letters)}"
        self._subnet = ""
        self._machines = 0
        self._undo = ExitStack()

    @property
    def address(self) -> str:
        """Return the address of the bridge: this machine's, as the others see it."""
        return f"{self._subnet}.1"

    @property
    def cidr(self) -> str:
        """Return the subnet with its length."""
        return f"{self._subnet}.0/24"

    def __enter__(self) -> Self:
        """Make the bridge."""
        bridge = f"{self._prefix}b"
        run("ip", "link", "add", bridge, "type", "bridge")
        self._undo.callback(outcome, "ip", "link", "delete", bridge)
        self._subnet = _free_subnet()
        run("ip", "address", "add", f"{self.address}/24", "dev", bridge)
        run("ip", "link", "set", bridge, "up")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove it all; what ran in a namespace has ended before."""
        self._undo.close()

    def machine(self) -> "Machine":
        """Return a new namespace with an address on the bridge."""
        self._machines += 1
        number = self._machines
        wire = f"{self._prefix}w{number}"
        machine = Machine(f"{self._prefix}n{number}", f"{self._subnet}.{10 + number}", wire)
        run("ip", "netns", "add", machine.namespace)
        self._undo.callback(outcome, "ip", "netns", "delete", machine.namespace)
        run("ip", "link", "add", wire, "type", "veth", "peer", "eth0", "netns", machine.namespace)
        self._undo.callback(outcome, "ip", "link", "delete", wire)
        run("ip", "link", "set", wire, "master", f"{self._prefix}b", "up")
        machine.run("ip", "address", "add", f"{machine.address}/24", "dev", "eth0")
        machine.run("ip", "link", "set", "eth0", "up")
        machine.run("ip", "link", "set", "lo", "up")
        return machine


class Machine:
    """A network namespace with one wire, and what can befall that.

    Each fault is added to those there are; `heal` ends them all.
    """

    def __init__(self, namespace: str, address: str, wire: str) -> None:
        self.namespace = namespace
        self.address = address
        self._wire = wire
        """The wire's other end, on this machine."""
        self._narrow = False

    def run(self, *argv: str) -> str:
        """Run a program in it."""
        return run(*in_namespace(self.namespace), *argv)

    def cut(self, *others: str) -> None:
        """Drop every packet, both ways, from and to these addresses or all: nobody is told."""
        for other in others or ("0.0.0.0/0",):
            self._rule("INPUT", "!", "-i", "lo", "-s", other, "-j", "DROP")
            self._rule("OUTPUT", "!", "-o", "lo", "-d", other, "-j", "DROP")

    def cut_port(self, port: int) -> None:
        """Drop what it exchanges with one port of whichever machine: nobody is told."""
        self._rule("INPUT", "-p", "tcp", "--sport", str(port), "-j", "DROP")
        self._rule("OUTPUT", "-p", "tcp", "--dport", str(port), "-j", "DROP")

    def mute(self) -> None:
        """Drop what it sends, and nothing else: it hears, and cannot answer."""
        self._rule("OUTPUT", "!", "-o", "lo", "-j", "DROP")

    def send_ahead(self, packets: int = 200) -> None:
        """Send so many packets of a connection before the first of them is acknowledged."""
        route = self.run("ip", "route", "show", "dev", "eth0").split()
        self.run("ip", "route", "change", *route, "dev", "eth0", "initcwnd", str(packets))

    def refuse(self) -> None:
        """Reset every connection it has or gets."""
        self._reset()

    def tear(self, after_bytes: int) -> None:
        """Reset each connection once it has carried so many bytes, both ways counted together."""
        counted = ("--connbytes", f"{after_bytes}:", "--connbytes-dir", "both")
        self._reset("-m", "connbytes", *counted, "--connbytes-mode", "bytes")

    def lose(self, percent: float) -> None:
        """Lose so many of a hundred packets, by chance, each way."""
        chance = ("-m", "statistic", "--mode", "random", "--probability", str(percent / 100))
        self._rule("INPUT", "!", "-i", "lo", *chance, "-j", "DROP")
        self._rule("OUTPUT", "!", "-o", "lo", *chance, "-j", "DROP")

    def narrow(self, megabits: float, *, burst: str = "32kb", latency: str = "400ms") -> None:
        """Let no more through than this in a second, each way."""
        rate = ("root", "tbf", "rate", f"{megabits}mbit", "burst", burst, "latency", latency)
        self.run("tc", "qdisc", "add", "dev", "eth0", *rate)
        run("tc", "qdisc", "add", "dev", self._wire, *rate)
        self._narrow = True

    def hit(self) -> int:
        """Return how many packets have met a fault since it was last healed."""
        listed = self.run("iptables", "--wait", "-L", "-v", "-n", "-x")
        rules = [line.split() for line in listed.splitlines()]
        return sum(int(rule[0]) for rule in rules if rule[2:3] in (["DROP"], ["REJECT"]))

    def heal(self) -> None:
        """Be as new."""
        self.run("iptables", "--wait", "-F")
        if self._narrow:
            self.run("tc", "qdisc", "delete", "dev", "eth0", "root")
            run("tc", "qdisc", "delete", "dev", self._wire, "root")
        self._narrow = False

    def _reset(self, *when: str) -> None:
        """Answer with a reset, both ways; but let through the resets themselves."""
        for chain, way in (("INPUT", "-i"), ("OUTPUT", "-o")):
            matched = ("!", way, "lo", "-p", "tcp", "--tcp-flags", "RST", "NONE", *when)
            self._rule(chain, *matched, "-j", "REJECT", "--reject-with", "tcp-reset")

    def _rule(self, chain: str, *words: str) -> None:
        self.run("iptables", "--wait", "-A", chain, *words)


def _free_subnet() -> str:
    """Return the first three numbers of a subnet that this machine has no address in."""
    taken = run("ip", "-4", "-brief", "address")
    for step in range(SUBNETS):
        number = (os.getpid() + step) % SUBNETS
        subnet = f"198.{18 + number // 256}.{number % 256}"
        if f"{subnet}." not in taken:
            return subnet
    raise AssertionError("every subnet of 198.18.0.0/15 is taken")

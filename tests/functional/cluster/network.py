"""A network of the test's own: a bridge, and namespaces on it, each a machine with an address.

Addresses are of 198.18.0.0/15, which is set aside for tests of networks (RFC 2544). Names and
subnet come from the process id, so test processes do not meet. Everything is gone when the
Network is left.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from tests.functional.programs import outcome, run

SUBNETS = 512


class Network:
    """A context manager: within it the bridge is there, and `machine` adds to it."""

    def __init__(self) -> None:
        self._prefix = f"ts{os.getpid():x}"
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
    """A network namespace with one wire; `wire` is the end of it on the bridge."""

    def __init__(self, namespace: str, address: str, wire: str) -> None:
        self.namespace = namespace
        self.address = address
        self.wire = wire

    def run(self, *argv: str) -> str:
        """Run a program in it."""
        return run("ip", "netns", "exec", self.namespace, *argv)

    def narrow(self, shape: Sequence[str]) -> None:
        """Send through this queueing discipline of `tc`, each way."""
        self.run("tc", "qdisc", "add", "dev", "eth0", "root", *shape)
        run("tc", "qdisc", "add", "dev", self.wire, "root", *shape)

    def cut(self) -> None:
        """Drop every packet, both ways: nobody is told."""
        self.run("iptables", "--wait", "-A", "INPUT", "!", "-i", "lo", "-j", "DROP")
        self.run("iptables", "--wait", "-A", "OUTPUT", "!", "-o", "lo", "-j", "DROP")

    def heal(self) -> None:
        """Drop none any more."""
        self.run("iptables", "--wait", "-F")


def _free_subnet() -> str:
    """Return the first three numbers of a subnet that this machine has no address in."""
    taken = run("ip", "-4", "-brief", "address")
    for step in range(SUBNETS):
        number = (os.getpid() + step) % SUBNETS
        subnet = f"198.{18 + number // 256}.{number % 256}"
        if f"{subnet}." not in taken:
            return subnet
    raise AssertionError("every subnet of 198.18.0.0/15 is taken")

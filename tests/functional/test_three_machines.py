"""The page "Several servers" of docs/operations.md, typed as it stands on machines of its names."""

import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from tests.functional.machine import Machine
from tests.functional.pages import ROOT, blocks
from tests.functional.programs import run, wait_until
from tests.functional.server import TREESCALE

pytestmark = pytest.mark.early

NAMES: Final = ("db", "s1", "s2", "s3")
"""At 10.0.0.10 to 13."""
HOSTS: Final = "".join(f"10.0.0.{10 + n} {name}.example\n" for n, name in enumerate(NAMES))
CONFIG: Final = "/etc/treescale/treescale.toml"
COMMAND: Final = f"""#!/bin/sh
export PYTHONPATH='{os.environ.get("PYTHONPATH", "")}'
exec {TREESCALE} "$@"
"""


class Machines:
    """Four machines on one network."""

    def __init__(self, home: Path, undo: ExitStack) -> None:
        self.by_name: dict[str, Machine] = {}
        for number, name in enumerate(NAMES):
            (home / name / "dist").mkdir(parents=True)
            machine = Machine(home / name, home / name / "dist").start()
            undo.callback(machine.close)
            machine.bind(ROOT, Path(sys.base_prefix))
            self.by_name[name] = machine
            self._connect(number, machine)
            self.write(name, "/root/hosts", f"127.0.0.1 localhost\n{HOSTS}")
            machine.type("mount --bind /root/hosts /etc/hosts")
            self.write(name, "/usr/local/bin/treescale", COMMAND)
            machine.type("chmod 755 /usr/local/bin/treescale; mkdir -p /etc/treescale")

    def _connect(self, number: int, machine: Machine) -> None:
        """Give it its address; the first has the switch."""
        switch, address = self.by_name["db"].pid, f"10.0.0.{10 + number}/24"
        in_switch, here = (
            ("nsenter", f"--net=/proc/{pid}/ns/net") for pid in (switch, machine.pid)
        )
        if number == 0:
            run(*in_switch, "ip", "link", "add", "switch", "type", "bridge")
            end = "switch"
        else:
            end, port = "wire", f"port{number}"
            peer = ("peer", "name", end, "netns", str(machine.pid))
            run(*in_switch, "ip", "link", "add", port, "type", "veth", *peer)
            run(*in_switch, "ip", "link", "set", port, "master", "switch", "up")
        run(*here, "ip", "addr", "add", address, "dev", end)
        run(*here, "ip", "link", "set", end, "up")

    def write(self, name: str, path: str, text: str) -> None:
        """Write a file there."""
        self.by_name[name].type(f"cat > {path} <<'X'\n{text}X")

    def type(self, name: str, commands: str) -> str:
        """Type commands there."""
        return self.by_name[name].type(commands, net=True, seconds=60)

    def status(self, name: str) -> Any:
        """Return what `cluster status` says there, as the page has it called."""
        said = f"export TREESCALE_CONFIG={CONFIG}; treescale cluster status --json"
        return json.loads(self.type(name, said))


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    """Return the machines of the page."""
    with ExitStack() as undo:
        yield Machines(tmp_path, undo)


def test_three_machines_are_one_registry_and_one_may_go(machines: Machines) -> None:
    by_name = machines.by_name
    by_name["db"].type(blocks("The database")[0], net=True)
    try:
        by_name["db"].type(blocks("Certificates")[0])
        (settings,) = blocks("The servers", "toml")
        for name in NAMES[1:]:
            machines.write(name, CONFIG, settings.replace("s1.example", f"{name}.example"))
            for source, target in ((f"{name}.crt", "tls.crt"), (f"{name}.key", "tls.key")):
                text = by_name["db"].read(f"/root/here/{source}")
                machines.write(name, f"/etc/treescale/{target}", text)
            by_name[name].serve("serve", "--config", CONFIG)
        _is_one(machines)
        authority = by_name["db"].read("/root/here/ca.crt")
        image = "docker://s1.example/admin/app:1"
        _log_in(machines, "s1", authority)
        _make_image(machines)
        machines.type("s1", f"skopeo copy oci:/root/image:1 {image}")
        machines.type("s1", f"export TREESCALE_CONFIG={CONFIG}; treescale cluster set copies=2")
        (backup,) = blocks("Backup and restore of a cluster")
        machines.type("s3", f"mkdir /backups\n{backup}")
        by_name["s1"].service.kill()
        _log_in(machines, "s2", authority)
        machines.type("s2", f"skopeo copy {image.replace('s1', 's2')} oci:/root/back:1")
        machines.type("s2", f"skopeo copy oci:/root/back:1 {image.replace('s1', 's2')}")
    finally:
        by_name["db"].type("pg_ctlcluster 15 main stop --mode immediate", net=True)


def _is_one(machines: Machines) -> None:
    """Check what the page shows of the third server's start, and what each says of all."""
    (shown,) = blocks("The servers", "console")
    log = machines.by_name["s3"].service.log
    _, *lines = shown.splitlines()
    wait_until("it says what the page shows", lambda: {*lines} <= {*log.read_text().splitlines()})
    for name in NAMES[1:]:
        assert len(machines.status(name)["servers"]) == 3


def _log_in(machines: Machines, name: str, authority: str) -> None:
    """Have skopeo on that machine trust the authority, and log in with the password as printed."""
    machines.type(name, f"mkdir -p /etc/containers/certs.d/{name}.example")
    machines.write(name, f"/etc/containers/certs.d/{name}.example/ca.crt", authority)
    said = machines.by_name["s1"].service.log.read_text()
    found = re.search(r"with the password (\S+)", said)
    assert found, said
    words = f"login --username admin --password-stdin {name}.example"
    machines.type(name, f"echo {found[1]} | skopeo {words}")


def _make_image(machines: Machines) -> None:
    """Have an image there that skopeo can copy."""
    machines.type(
        "s1",
        "mkdir /root/tree; head -c 3000000 /dev/urandom > /root/tree/file\n"
        "tar -C /root/tree -cf /root/tree.tar .\n"
        "skopeo copy tarball:/root/tree.tar oci:/root/image:1",
    )

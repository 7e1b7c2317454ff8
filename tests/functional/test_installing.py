"""The pages "Installing", "Upgrading" and "Removing" of docs/operations.md, typed as they stand."""

import re
import shutil
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.machine import Machine
from tests.functional.pages import PAGE, ROOT, blocks
from tests.functional.programs import refused
from treescale import __version__

pytestmark = pytest.mark.early

NEXT = "0.2.1"
"""The version that the page upgrades to."""
UNIT = "treescale.service"


def as_version(wheel: Path, version: str, target: Path) -> None:
    """Write the same wheel with another version."""
    before, after = (f"treescale-{each}." for each in (__version__, version))
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            data, name = old.read(entry), entry.filename.replace(before, after)
            if name.endswith(("METADATA", "RECORD", "treescale/__init__.py")):
                data = data.replace(before.encode(), after.encode())
                data = data.replace(__version__.encode(), version.encode())
            new.writestr(name, data)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """Return a machine on which lies what `make dist` makes, of this version and of the next."""
    dist = tmp_path / "dist"
    shutil.copytree(ROOT / ".make" / "dist", dist)
    (wheel,) = dist.glob(f"treescale-{__version__}-*.whl")
    as_version(wheel, NEXT, dist / wheel.name.replace(__version__, NEXT))
    shutil.copy(Path(sys.executable).with_name("uv"), dist / "uv")
    machine = Machine(tmp_path, dist).start()
    yield machine
    machine.close()


@pytest.mark.timeout(400)  # pip is slow on a machine that is busy
def test_a_service_is_installed_upgraded_and_removed(machine: Machine) -> None:
    assert "ignoring command 'start'" in machine.type(blocks("As a systemd service")[0])
    wanted = f"/etc/systemd/system/multi-user.target.wants/{UNIT}"
    machine.type(f"test -L {wanted}")
    machine.start_service(UNIT)
    assert machine.status("/readyz") == 200
    commands = "runuser -u treescale -- treescale user list --config /etc/treescale/treescale.toml"
    assert "admin" in machine.type(commands)
    assert f"version {__version__}" in machine.type("treescale --version")

    settings, prometheus = blocks("From nothing to TLS, backups and Prometheus")
    assert machine.service.stop() == 0
    machine.type(settings)
    machine.start_service(UNIT)
    assert "SUCCESS" in machine.type(prometheus)
    assert "treescale_build_info" in machine.type("curl -s http://127.0.0.1:9500/metrics", net=True)
    moved = machine.type("curl -s -o /dev/null -w '%{redirect_url}' http://127.0.0.1/v2/", net=True)
    assert moved == "https://registry.example/v2/"

    machine.type(blocks("A backup each night")[0])
    said = machine.read("/etc/systemd/system/treescale-backup.service")
    (back_up,) = re.findall(r"^ExecStart=(.+)$", said, re.MULTILINE)
    machine.type(f"runuser -u treescale -- {back_up}")
    machine.type("test 1 = $(ls /var/backups/treescale/treescale-*.backup | wc -l)")

    *install, restart = blocks("Upgrading")[0].strip().splitlines()
    assert restart == f"systemctl restart {UNIT}"
    machine.type("\n".join(install))
    assert machine.status("/readyz") == 200, "the old one goes on"
    assert machine.service.stop() == 0
    machine.start_service(UNIT)
    assert f"version {NEXT}" in machine.type("treescale --version")
    assert f"/opt/treescale/{NEXT}/" in Path(f"/proc/{machine.service.pid}/maps").read_text()
    assert "admin" in machine.type(commands), "the data is the same"

    assert machine.service.stop() == 0
    machine.type(blocks("Removing")[0])
    unit = f"/etc/systemd/system/{UNIT}"
    for path in (wanted, unit, "/usr/local/bin/treescale", "/opt/treescale"):
        machine.type(f"test ! -e {path}")
    machine.type("test -e /srv/treescale/treescale.db")


def test_uv_installs_and_replaces_the_command(machine: Machine) -> None:
    """As the page says; pipx is not on every machine, and does the same with pip."""
    machine.type("install dist/uv /usr/local/bin/uv")
    (install,) = [
        line for line in blocks("With pipx or uv")[0].splitlines() if line.startswith("uv ")
    ]
    machine.type(install)
    assert f"version {__version__}" in machine.type("$HOME/.local/bin/treescale --version")
    upgrade = [line for line in blocks("Upgrading")[1].splitlines() if line.startswith("uv ")]
    machine.type("\n".join(upgrade))
    assert f"version {NEXT}" in machine.type("$HOME/.local/bin/treescale --version")
    (remove,) = re.findall(r"`(uv tool uninstall treescale)`", PAGE)
    machine.type(f"{remove}; test ! -e $HOME/.local/bin/treescale")


def test_pip_takes_nothing_that_the_lock_does_not_pin(tmp_path: Path) -> None:
    """The control of `--require-hashes`: another hash for one package, and nothing is installed."""
    lock = ROOT / "requirements.lock"
    pinned = re.search(r"^click==\S+", lock.read_text(), re.MULTILINE)
    assert pinned
    file = tmp_path / "requirements.lock"
    file.write_text(f"{pinned[0]} --hash=sha256:{'0' * 64}\n")
    words = ("-m", "pip", "install", "--no-deps", "--require-hashes", "--target", tmp_path / "to")
    assert "DO NOT MATCH THE HASHES" in refused(sys.executable, *words, "-r", file)

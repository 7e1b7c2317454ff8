"""`treescale doctor` beside real faults."""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests import postgres as databases
from tests.crash.places import MIB, Mounts, make_ext4
from tests.functional.certificates import Authority
from tests.functional.conftest import Serve, short_directory
from tests.functional.programs import outcome, refused
from tests.functional.server import TREESCALE, Options
from tests.postgres import running_postgres
from treescale.cli.main import cli

Rows = Mapping[str, Mapping[str, Any]]
LISTEN = ("--listen", "127.0.0.1:0")
BROKEN, WARNINGS = 1, 3


POWERLESS = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
"""As root, without what root may do beyond others."""


def examined(*flags: str | Path) -> tuple[int, Rows]:
    """Return the exit status, and what was found by name; its start is done once for all."""
    words = [str(word) for word in ("doctor", *flags, "--json")]
    done = CliRunner().invoke(cli, words, prog_name="treescale")
    return done.exit_code, named(done.stdout)


def named(said: str) -> Rows:
    return {row["check"]: row for row in json.loads(said)}


@pytest.fixture
def mounts(tmp_path: Path) -> Iterator[Mounts]:
    mounts = Mounts(tmp_path)
    yield mounts
    mounts.unmount_all()


def test_a_server_that_runs_is_well_and_is_not_disturbed(serve: Serve) -> None:
    server = serve(Options())
    before = sorted(str(path) for path in server.home.rglob("*"))
    status, found = examined("--data", server.disks[0], "--listen", server.address)
    assert found[f"--listen {server.address}"]["found"] == "in use by treescale"
    (peer,) = [row for name, row in found.items() if name.startswith("server ")]
    assert (peer["state"], peer["found"][:7]) == ("ok", "reached")
    told = {name: row for name, row in found.items() if row["state"] == "failure"}
    assert (told, status in (0, WARNINGS)) == ({}, True)
    assert server.is_ready()
    assert sorted(str(path) for path in server.home.rglob("*")) == before


def test_a_disk_that_is_full_and_an_expired_certificate(tmp_path: Path, mounts: Mounts) -> None:
    disk = mounts.ext4(make_ext4(tmp_path / "image", 32 * MIB), "disk")
    assert "space" in refused("dd", "if=/dev/zero", f"of={disk}/lost+found/filler", "bs=4k")
    pair = Authority(tmp_path / "ca").pair(days=-1)
    status, found = examined(
        *("--data", disk, *LISTEN, "--public-url", "https://registry.example"),
        *("--tls-cert", pair / "tls.crt", "--tls-key", pair / "tls.key"),
    )
    assert status == BROKEN
    assert "No space left" in found[f"data {disk}"]["found"]
    assert "pushes are refused (507)" in found[f"room {disk}"]["found"]
    assert "expired" in found["certificate"]["found"]
    assert "not registry.example" in found["certificate names"]["found"]
    assert "renew it" in found["certificate"]["advice"]


def test_whoever_may_not_write_is_told_what_to_do() -> None:
    with short_directory() as home:
        home.chmod(0o755)
        shutil.chown(home, "nobody", "nogroup")
        words = ("doctor", "--data", home, "--listen", "127.0.0.1:80", "--json")
        status, said = outcome(*POWERLESS, TREESCALE, *words)
    found = named(said)
    assert status == BROKEN
    assert "Permission denied" in found[f"data {home}"]["found"]
    assert "chown" in found[f"data {home}"]["advice"]
    assert "CAP_NET_BIND_SERVICE" in found["--listen 127.0.0.1:80"]["advice"]


def test_a_postgresql_that_is_too_small_and_a_server_that_is_gone(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = (*databases.FAST, "max_connections=20", "fsync=on", "full_page_writes=on")
    monkeypatch.setattr(databases, "FAST", small)
    with running_postgres() as database:
        url = database.url("postgres")
        first, second = (serve(Options(workers=1, database=url, fit="/healthz")) for _ in range(2))
        flags = ("--data", first.disks[0], "--database", url, "--workers", "1", *LISTEN)
        _, found = examined(*flags)
        assert states_of_servers(found) == ["ok", "ok"]
        assert found["max_connections"]["state"] == "warning"
        assert "use up to 28" in found["max_connections"]["found"]
        assert found["durability"]["state"] == "ok"
        second.crash()
        status, found = examined(*flags)
        assert (status, states_of_servers(found)) == (BROKEN, ["failure", "ok"])
        first.crash()
    status, found = examined(*flags)
    assert (status, found["database"]["state"]) == (BROKEN, "failure")
    assert found[f"data {first.disks[0]}"]["state"] == "ok", "the rest is looked at all the same"


def states_of_servers(found: Rows) -> list[str]:
    """Return the states of the cluster's servers."""
    return sorted(row["state"] for name, row in found.items() if name.startswith("server "))

"""docs/kubernetes.md, typed as it stands; what stands for a cluster is tests/functional/kubectl.py.

Servers, backups and the restore are real ones, on SQLite in place of PostgreSQL.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from tests.functional.conftest import Serve
from tests.functional.programs import run
from tests.functional.server import TREESCALE, Options
from tests.functional.test_deploy import CHART, documents, paths

pytestmark = pytest.mark.early

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs/kubernetes.md").read_text(encoding="utf-8")
BLOCKS: Final = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
SECRETS, ISSUER, INSTALL, WELL, WATCH, BACKUP = BLOCKS[:6]
STOP, LIST, RESTORE, START, USERS, UPGRADE = BLOCKS[6:]
FUNCTION: Final = LIST.partition("}\n")[0] + "}\n"
EXAMPLE: Final = "treescale-20261130T023000Z-a84f712f.backup"
SECONDS_MAX: Final = 60


class Typist:
    """Somebody in a checkout, at a cluster."""

    def __init__(self, home: Path, database: str) -> None:
        self.home, self.cluster = home / "checkout", home / "cluster"
        programs = home / "bin"
        for place in (self.home, self.cluster, programs):
            place.mkdir()
        (self.home / "deploy").symlink_to(ROOT / "deploy")
        (self.home / "elsewhere-token").write_text("by which nodes pull\n")
        (self.cluster / "objects.json").write_text("{}")
        stand_in = Path(__file__).with_name("kubectl.py")
        for name in ("kubectl", "helm"):
            file = programs / name
            file.write_text(f'#!/bin/sh\nexec {sys.executable} {stand_in} {name} "$@"\n')
            file.chmod(0o755)
        (programs / "treescale").symlink_to(TREESCALE)
        self.database = database
        self._environment = {
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "KUBERNETES": str(self.cluster),
            "TREESCALE_DATABASE": database,
        }

    def type(self, commands: str) -> tuple[int, str]:
        """Return the exit status and what is said."""
        done = subprocess.run(
            ["bash", "-e", "-u", "-o", "pipefail", "-c", commands],
            cwd=self.home,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )
        return done.returncode, done.stdout

    def typed(self, commands: str) -> str:
        """Type what must succeed; return what is said."""
        code, said = self.type(commands)
        assert code == 0, f"{commands}\n{said}"
        return said

    @property
    def objects(self) -> dict[str, Any]:
        """Return what the cluster has, by kind and name."""
        found: dict[str, Any] = json.loads((self.cluster / "objects.json").read_text())
        return found

    @property
    def said(self) -> list[list[str]]:
        """Return all commands that the cluster has heard."""
        return [json.loads(line) for line in (self.cluster / "said.jsonl").read_text().splitlines()]


def named(value: Any, key: str) -> Iterator[str]:
    """Yield the names below each `key` of an object, however deep."""
    if isinstance(value, list):
        for each in value:
            yield from named(each, key)
    elif isinstance(value, dict):
        for name, each in value.items():
            if name == key:
                yield each if isinstance(each, str) else each["name"]
            else:
                yield from named(each, key)


def secrets_of(objects: Mapping[str, Any]) -> set[str]:
    """Return the secrets that what the chart makes asks for."""
    rendered = [each for key, each in objects.items() if not key.startswith("secret/")]
    pulls = {
        secret["name"]
        for each in (objects["statefulset/treescale"]["spec"]["template"],)
        for secret in each["spec"]["imagePullSecrets"]
    }
    return {*named(rendered, "secretKeyRef"), *named(rendered, "secretName"), *pulls}


@pytest.fixture
def somebody(tmp_path: Path) -> Typist:
    return Typist(tmp_path, f"sqlite:///{tmp_path}/treescale.db")


def test_the_page_leads_to_a_registry_that_is_watched_and_backed_up(somebody: Typist) -> None:
    """Each secret that pods and the ingress ask for is made before, or by cert-manager."""
    for block in (SECRETS, ISSUER, INSTALL):
        somebody.typed(block)
    objects = somebody.objects
    made = {key.partition("/")[2] for key in objects if key.startswith("secret/")}
    ingress = objects["ingress/treescale"]
    assert secrets_of(objects) - made == {ingress["spec"]["tls"][0]["secretName"]}
    issuer = ingress["metadata"]["annotations"]["cert-manager.io/cluster-issuer"]
    assert f"clusterissuer/{issuer}" in objects
    [solver] = objects[f"clusterissuer/{issuer}"]["spec"]["acme"]["solvers"]
    by = solver["http01"]["ingress"]["ingressClassName"]
    assert by == ingress["spec"]["ingressClassName"]
    keys = {key: objects[f"secret/{key}"] for key in made - {"elsewhere"}}
    assert keys == {
        "treescale-admin": ["password"],
        "treescale-database": ["database"],
        "treescale-passphrase": ["passphrase"],
    }
    assert "\n" not in (somebody.cluster / "secret/treescale-admin/password").read_text()

    somebody.typed(WATCH)
    objects = somebody.objects
    rule, monitor = objects["prometheusrule/treescale"], objects["servicemonitor/treescale"]
    assert rule["metadata"]["labels"].items() <= monitor["metadata"]["labels"].items()
    rules = somebody.home / "rules.yaml"
    rules.write_text(json.dumps(rule["spec"]))
    run("promtool", "check", "rules", rules)
    assert json.loads(objects["configmap/treescale-dashboard"]["treescale.json"])["panels"]
    served = objects["service/treescale-peers"]
    assert (
        monitor["spec"]["selector"]["matchLabels"].items() <= served["metadata"]["labels"].items()
    )
    [endpoint] = monitor["spec"]["endpoints"]
    ports = {port["name"]: port["port"] for port in served["spec"]["ports"]}
    [pod] = objects["statefulset/treescale"]["spec"]["template"]["spec"]["containers"]
    told = {each["name"]: each.get("value", "") for each in pod["env"]}
    assert told["TREESCALE_METRICS_LISTEN"] == f"0.0.0.0:{ports[endpoint['port']]}"
    clients = objects["service/treescale"]["spec"]["ports"]
    assert [port["name"] for port in clients] == ["http"], "not for whoever reaches the registry"


def test_what_is_not_there_is_refused_by_what_stands_for_a_cluster(somebody: Typist) -> None:
    """The control of the other tests here."""
    code, said = somebody.type(BACKUP)
    assert (code, "not found" in said) == (1, True)
    somebody.typed(SECRETS)
    code, said = somebody.type(INSTALL.replace("500Gi", "50Gi"))
    assert (code, "of other values" in said) == (1, True)


def test_a_backup_is_restored_and_users_pull(somebody: Typist, serve: Serve) -> None:
    """From the first server to an upgrade: what is typed in pods and jobs is run."""
    database = somebody.database
    server = serve(Options(database=database))
    for block in (SECRETS, INSTALL):
        somebody.typed(block)
    assert "servers" in somebody.typed(WELL.replace("treescale doctor", "treescale doctor --help"))
    somebody.typed("kubectl create namespace shop")
    somebody.typed(USERS)
    account = somebody.objects["secret/treescale"]
    assert account["server"] == ["registry.example"]
    server.admin("token", "list", "alice")

    assert "Backup of" in somebody.typed(BACKUP)
    listed = somebody.typed(LIST)
    [name] = re.findall(r"treescale-\S+\.backup", listed)
    assert re.sub(r"\w", "x", name) == re.sub(r"\w", "x", EXAMPLE), "what the page shows"
    somebody.typed(STOP)
    assert server.stop() == 0
    for file in Path(database.removeprefix("sqlite:///")).parent.glob("treescale.db*"):
        file.unlink()
    assert "Restored" in somebody.typed(FUNCTION + RESTORE.replace(EXAMPLE, name))
    server.start()
    somebody.typed(START)
    assert "alice" in server.admin("user", "list")
    somebody.typed(UPGRADE)


def test_the_page_names_values_that_there_are() -> None:
    [values] = documents((CHART / "values.yaml").read_text())
    known = set(paths(values))
    roots = {name.partition(".")[0] for name in known if "." in name}
    spoken = set(re.findall(rf"`((?:{'|'.join(roots)})\.[A-Za-z.]+)`", PAGE))
    assert spoken
    assert spoken <= known
    alone = {"replicas", "workers", "resources", "trustedProxies", "readinessPath"}
    assert alone <= known
    assert all(re.search(rf"`{name}\b", PAGE) for name in alone)

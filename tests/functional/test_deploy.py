"""The Helm chart and the compose file in deploy/: their objects, ports and settings fit together.

helm and a cluster are not at hand here. Looked at is the chart as helm rendered it last
(`make chart`), and that the chart was not changed since.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.functional.programs import outcome, refused, run
from tests.functional.server import TREESCALE
from treescale import __version__
from treescale.cluster.readiness import Purpose
from treescale.config import FIELDS, load
from treescale.errors import SettingInvalid

DEPLOY = Path(__file__).parents[2] / "deploy"
HELM = DEPLOY / "helm"
CHART = HELM / "treescale"
COMPOSE = DEPLOY / "compose" / "compose.yaml"
PROBES = {"/healthz", "/readyz", *(f"/readyz?for={purpose.value}" for purpose in Purpose)}
KINDS = {
    "Service": "v1",
    "StatefulSet": "apps/v1",
    "PodDisruptionBudget": "policy/v1",
    "Ingress": "networking.k8s.io/v1",
    "CronJob": "batch/v1",
    "PersistentVolumeClaim": "v1",
    "ServiceMonitor": "monitoring.coreos.com/v1",
}
SECRETS = {"TREESCALE_ADMIN_PASSWORD", "TREESCALE_CONFIG"}
"""Variables of ours that are no setting."""


def documents(text: str) -> list[Any]:
    """Return the documents of a YAML text, as Debian's parser reads them."""
    script = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(sys.stdin))))"
    found = json.loads(run("/usr/bin/python3", "-c", script, text_in=text))
    return [document for document in found if document is not None]


@pytest.fixture(scope="module")
def objects() -> dict[str, Any]:
    """Return what the chart makes, by kind and name."""
    found = documents((HELM / "rendered.yaml").read_text())
    named = {f"{each['kind']}/{each['metadata']['name']}": each for each in found}
    assert len(named) == len(found)
    return named


@pytest.fixture(scope="module")
def pod(objects: dict[str, Any]) -> Any:
    """Return the template of a server's pod."""
    return objects["StatefulSet/treescale"]["spec"]["template"]


def contained(inner: dict[str, str], outer: dict[str, str]) -> bool:
    """Say whether a selector matches these labels; an empty one would match all."""
    return bool(inner) and inner.items() <= outer.items()


def is_setting(variable: str) -> bool:
    """Say whether the server knows this variable; it does not start with one that it does not."""
    return variable in SECRETS or variable.removeprefix("TREESCALE_").lower() in FIELDS


def test_the_rendering_is_of_this_chart() -> None:
    files = sorted(str(path.relative_to(HELM)) for path in CHART.rglob("*") if path.is_file())
    digest = hashlib.sha256()
    for name in sorted([*files, "rendered-values.yaml"]):
        digest.update((HELM / name).read_bytes())
    head = (HELM / "rendered.yaml").read_text().splitlines()[1]
    assert head == f"# Of: sha256:{digest.hexdigest()}", "say `make chart` after a change"


def test_every_object_has_what_kubernetes_asks_for(objects: dict[str, Any]) -> None:
    assert {each["kind"] for each in objects.values()} == set(KINDS)
    for each in objects.values():
        assert each["apiVersion"] == KINDS[each["kind"]]
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", each["metadata"]["name"])
        assert all(isinstance(value, str) for value in each["metadata"]["labels"].values())


def test_selectors_match_the_pods(objects: dict[str, Any], pod: Any) -> None:
    labels = pod["metadata"]["labels"]
    spec = objects["StatefulSet/treescale"]["spec"]
    selector = spec["selector"]["matchLabels"]
    assert contained(selector, labels)
    budget = objects["PodDisruptionBudget/treescale"]["spec"]
    assert (budget["selector"]["matchLabels"], budget["maxUnavailable"]) == (selector, 1)
    for name in ("Service/treescale", "Service/treescale-peers"):
        assert contained(objects[name]["spec"]["selector"], labels), name
    [spread] = pod["spec"]["topologySpreadConstraints"]
    assert contained(spread["labelSelector"]["matchLabels"], labels)
    assert not contained({}, labels)


def test_servers_and_clients_find_their_ports(objects: dict[str, Any], pod: Any) -> None:
    [container] = pod["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert objects["StatefulSet/treescale"]["spec"]["serviceName"] == "treescale-peers"
    peers = objects["Service/treescale-peers"]["spec"]
    assert (peers["clusterIP"], peers["publishNotReadyAddresses"]) == ("None", True)
    for name in ("Service/treescale", "Service/treescale-peers"):
        for port in objects[name]["spec"]["ports"]:
            assert port["targetPort"] in ports
    variables = {each["name"]: each.get("value", "") for each in container["env"]}
    assert variables["TREESCALE_LISTEN"].endswith(f":{ports['http']}")
    port, metrics = peers["ports"]  # a headless service leads to the container's own ports
    assert (metrics["name"], metrics["port"]) == ("metrics", ports["metrics"])
    advertised = "http://$(POD_NAME).treescale-peers.registry.svc:"
    assert variables["TREESCALE_ADVERTISE"] == f"{advertised}{port['port']}"
    assert port["port"] == ports["http"]
    [rule] = objects["Ingress/treescale"]["spec"]["rules"]
    [path] = rule["http"]["paths"]
    backend = path["backend"]["service"]
    target = objects[f"Service/{backend['name']}"]["spec"]["ports"]
    assert backend["port"]["name"] in {port["name"] for port in target}
    [tls] = objects["Ingress/treescale"]["spec"]["tls"]
    assert tls["hosts"] == [rule["host"]]


def test_probes_ask_for_what_the_server_answers(pod: Any) -> None:
    [container] = pod["spec"]["containers"]
    names = {port["name"] for port in container["ports"]}
    asked = {}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        get = container[probe]["httpGet"]
        assert get["port"] in names
        asked[probe] = get["path"]
    assert set(asked.values()) <= PROBES
    assert asked["livenessProbe"] == asked["startupProbe"] == "/healthz"
    assert asked["readinessProbe"] == "/readyz?for=pull"
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert set(schema["properties"]["readinessPath"]["enum"]) <= PROBES
    command = container["lifecycle"]["preStop"]["exec"]["command"]
    assert command[0] == "treescale"
    assert "--wait" in run(TREESCALE, *command[1:-1], "--help"), "a command of ours"


def test_a_pod_has_its_volumes_and_writes_nowhere_else(objects: dict[str, Any], pod: Any) -> None:
    [container] = pod["spec"]["containers"]
    claims = objects["StatefulSet/treescale"]["spec"]["volumeClaimTemplates"]
    named = [each["name"] for each in pod["spec"]["volumes"]]
    named += [each["metadata"]["name"] for each in claims]
    mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
    assert sorted(mounts.values()) == sorted(named)
    assert mounts["/data"] == claims[0]["metadata"]["name"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    uid = pod["spec"]["securityContext"]["runAsUser"]
    assert f"\nUSER {uid}:{uid}\n" in (DEPLOY / "Containerfile").read_text()


def test_a_pod_is_told_settings_and_nothing_that_is_none(pod: Any) -> None:
    """Kubernetes' links name a service in variables: TREESCALE_PORT, for one called treescale."""
    [container] = pod["spec"]["containers"]
    told = [each["name"] for each in container["env"] if each["name"].startswith("TREESCALE_")]
    assert [name for name in told if not is_setting(name)] == []
    assert len(set(told)) == len(told) >= 6
    assert pod["spec"]["enableServiceLinks"] is False
    with pytest.raises(SettingInvalid):  # the control: that is why
        load({}, {"TREESCALE_PORT": "tcp://10.96.0.1:5000"})


def test_a_backup_is_made_each_night_and_gets_no_requests(
    objects: dict[str, Any], pod: Any
) -> None:
    job = objects["CronJob/treescale-backup"]["spec"]
    assert job["concurrencyPolicy"] == "Forbid"
    assert re.fullmatch(r"\d+ \d+ \* \* \*", job["schedule"])
    made = job["jobTemplate"]["spec"]["template"]
    for name in ("Service/treescale", "Service/treescale-peers"):
        selector = objects[name]["spec"]["selector"]
        assert not contained(selector, made["metadata"]["labels"]), name
        assert contained(selector, pod["metadata"]["labels"]), "the control"
    assert not contained(
        objects["StatefulSet/treescale"]["spec"]["selector"]["matchLabels"],
        made["metadata"]["labels"],
    )
    [container] = made["spec"]["containers"]
    program, command, directory, keep, secret = container["command"]
    assert (program, command) == ("treescale", "backup")
    flags = run(TREESCALE, command, "--help")
    assert all(flag.partition("=")[0] in flags for flag in (keep, secret))
    mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
    volumes = {each["name"]: each for each in made["spec"]["volumes"]}
    assert set(mounts.values()) == set(volumes)
    claim = volumes[mounts[directory]]["persistentVolumeClaim"]["claimName"]
    kept = objects[f"PersistentVolumeClaim/{claim}"]["metadata"]["annotations"]
    assert kept == {"helm.sh/resource-policy": "keep"}
    assert mounts[str(Path(secret.partition("=")[2]).parent)] == "passphrase"
    assert [each["name"] for each in container["env"]] == ["TREESCALE_DATABASE"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert made["spec"]["securityContext"] == {
        key: value
        for key, value in pod["spec"]["securityContext"].items()
        if key != "fsGroupChangePolicy"
    }


def paths(values: dict[str, Any], before: str = "") -> Iterator[str]:
    """Yield the values of the chart by their dotted names."""
    for key, value in values.items():
        yield f"{before}{key}"
        if isinstance(value, dict):
            yield from paths(value, f"{before}{key}.")


def test_values_are_those_that_the_templates_and_the_schema_know() -> None:
    [values] = documents((CHART / "values.yaml").read_text())
    templates = "".join(path.read_text() for path in sorted((CHART / "templates").iterdir()))
    used = set(re.findall(r"\.Values\.([A-Za-z.]+)", templates))
    known = set(paths(values))
    assert used
    assert used <= known, "the templates use what values.yaml has not"
    leaves = {path for path in known if not any(other.startswith(f"{path}.") for other in known)}
    unused = {path for path in leaves if not any(f"{path}.".startswith(f"{u}.") for u in used)}
    assert unused == set()

    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.validate(values, schema)
    assert set(values) == set(schema["properties"]) - {"global"}
    [given] = documents((HELM / "rendered-values.yaml").read_text())
    jsonschema.validate(values | given, schema)
    for wrong in ({"replicas": 0}, {"replica": 3}, {"database": {"url": "mysql://x"}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(values | wrong, schema)


def test_what_is_deployed_is_this_version() -> None:
    [chart] = documents((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)
    assert f"\nARG VERSION={__version__}\n" in (DEPLOY / "Containerfile").read_text()
    assert f"treescale:{__version__}}}" in COMPOSE.read_text()


def test_compose_makes_three_servers_a_database_and_a_balancer() -> None:
    variables = {"DATABASE_PASSWORD": "kept", "ADMIN_PASSWORD": "secret"}
    program = ("podman-compose", "--podman-path=/bin/true", "--dry-run", "--file", COMPOSE)
    words = (*program, "up", "--detach")
    said = run(*words, env=variables)
    made = re.findall(r"run --name=\w+_(\w+)_1 ", said)
    assert made == ["database", "s1", "s2", "s3", "balancer"]
    assert "postgresql://treescale:kept@database/treescale" in said
    code, missing = outcome(*words, env={"ADMIN_PASSWORD": "secret"})
    assert code != 0
    assert "set it in .env" in missing

    [compose] = documents(COMPOSE.read_text())
    services = compose["services"]
    balancer = (COMPOSE.parent / "haproxy.cfg").read_text()
    for name in ("s1", "s2", "s3"):
        told = services[name]["environment"]
        assert [each for each in told if not is_setting(each)] == []
        assert told["TREESCALE_ADVERTISE"] == f"http://{name}:5000"
        assert services[name]["volumes"] == [f"{name}:/data"]
        assert f"server {name} {name}:5000\n" in balancer
        assert services[name]["read_only"]
        assert services[name]["tmpfs"] == ["/tmp"]  # noqa: S108  the container's own
    volumes = {str(each["volumes"][0]).partition(":")[0] for each in services.values()}
    assert set(compose["volumes"]) == volumes - {"./haproxy.cfg"}
    [published] = services["balancer"]["ports"]
    assert f"bind :{published.partition(':')[2]} ssl" in balancer


def test_compose_makes_a_backup_when_it_is_told_to() -> None:
    backup = COMPOSE.with_name("backup.yaml")
    program = ("podman-compose", "--podman-path=/bin/true", "--dry-run")
    files = ("--file", COMPOSE, "--file", backup)
    variables = {"DATABASE_PASSWORD": "kept", "ADMIN_PASSWORD": "secret"}
    said = run(*program, *files, "run", "--rm", "-T", "backup", env=variables)
    made = said.strip().splitlines()[-1]
    assert made.endswith(f"treescale:{__version__} backup /backups --keep 14")
    assert f"-v {backup.parent}/backups:/backups " in made
    [found] = documents(backup.read_text())
    [server] = documents(COMPOSE.read_text())
    told = found["services"]["backup"]["environment"]
    assert told.items() <= server["services"]["s1"]["environment"].items()


def test_the_balancer_of_compose_is_one_that_haproxy_takes(tmp_path: Path) -> None:
    pair = tmp_path / "registry.pem"
    run(
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
        *("-nodes", "-days", "30", "-subj", "/CN=registry.example", "-keyout", pair, "-out", pair),
    )
    text = (COMPOSE.parent / "haproxy.cfg").read_text()
    file = tmp_path / "haproxy.cfg"
    file.write_text(text.replace("/etc/ssl/registry.pem", str(pair)))
    run("/usr/sbin/haproxy", "-c", "-f", file)
    file.write_text(file.read_text().replace("parse-resolv-conf", "parse-resolve-conf"))
    assert "parse-resolve-conf" in refused("/usr/sbin/haproxy", "-c", "-f", file)

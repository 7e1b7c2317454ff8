"""crane, oras, helm, buildx and BuildKit against a real server, as a robot and as who signed on.

`make clients` runs this, and nothing else does: it builds the clients from their sources, which
takes minutes and a Go newer than Debian's. What was found is in docs/clients.md; a fault has a test
on the wire in CI.
"""

import json
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tests.clients.conftest import built
from tests.functional.docker import Docker
from tests.functional.programs import refused, run
from tests.functional.server import Account, Server
from tests.functional.wire import Wire
from tests.images import busybox_layer

SECONDS_MAX: Final = 120


class Client:
    """A program with a home of its own, in which its login is."""

    def __init__(self, name: str, home: Path) -> None:
        self.program, self.home = built(name), home
        self._environment = {"HOME": str(home), "DOCKER_CONFIG": str(home / "docker")}

    def __call__(self, *words: str | Path, text_in: str = "") -> str:
        """Run a command that must succeed; return what it printed."""
        environment = self._environment
        return run(self.program, *words, text_in=text_in, env=environment, seconds=SECONDS_MAX)

    def refused(self, *words: str | Path) -> str:
        """Run a command that must fail; return what it printed."""
        return refused(self.program, *words, env=self._environment, seconds=SECONDS_MAX)


def test_crane(registry: Server, account: Account, tmp_path: Path) -> None:
    crane, where = Client("crane", tmp_path), f"{registry.address}/acme"
    words = ("auth", "login", registry.address, "-u", account.name, "--password-stdin")
    crane(*words, text_in=account.password)
    crane("append", "--new_layer", busybox_layer().path, "--new_tag", f"{where}/crane:1")
    crane("validate", "--remote", f"{where}/crane:1")
    crane("pull", f"{where}/crane:1", tmp_path / "image.tar")
    crane("push", tmp_path / "image.tar", f"{where}/crane:2")
    crane("copy", f"{where}/crane:1", f"{where}/crane-copied:1")
    crane("tag", f"{where}/crane-copied:1", "latest")
    assert crane("ls", f"{where}/crane").split() == ["1", "2"]
    assert crane("ls", f"{where}/crane-copied").split() == ["1", "latest"]
    assert "acme/crane-copied" in crane("catalog", registry.address).split()
    assert "401 Unauthorized" in crane.refused(
        "copy", f"{where}/crane:1", f"{registry.address}/alice/x:1"
    )
    digest = crane("digest", f"{where}/crane-copied:1").strip()
    crane("delete", f"{where}/crane-copied@{digest}")
    assert "MANIFEST_UNKNOWN" in crane.refused("manifest", f"{where}/crane-copied:latest")
    for name in ("1", "2"):
        crane("delete", f"{where}/crane:{name}")


def test_oras(registry: Server, account: Account, tmp_path: Path) -> None:
    oras, where = Client("oras", tmp_path), f"{registry.address}/acme/oras"
    words = ("login", "--plain-http", "--username", account.name, "--password-stdin")
    oras(*words, registry.address, text_in=account.password)
    (tmp_path / "words.txt").write_text("not an image\n")
    (tmp_path / "sbom.json").write_text("{}")
    plain = ("--plain-http", "--disable-path-validation")
    oras("push", *plain, f"{where}:1", f"{tmp_path / 'words.txt'}:text/plain")
    attached = ("--artifact-type", "application/spdx+json", f"{where}:1")
    oras("attach", *plain, *attached, f"{tmp_path / 'sbom.json'}:application/json")
    found = json.loads(oras("discover", "--plain-http", "--format", "json", f"{where}:1"))
    assert [one["artifactType"] for one in found["referrers"]] == ["application/spdx+json"]
    copied = f"{registry.address}/acme/oras-copied"
    both = ("--from-plain-http", "--to-plain-http")
    oras("cp", *both, "--recursive", f"{where}:1", f"{copied}:2")
    assert oras("repo", "tags", "--plain-http", copied).split() == ["2"]
    oras(
        "pull",
        "--plain-http",
        "--output",
        tmp_path / "back",
        f"{copied}:2",
        "--allow-path-traversal",
    )
    oras("manifest", "delete", "--plain-http", "--force", f"{copied}:2")
    assert "not found" in oras.refused("manifest", "fetch", "--plain-http", f"{copied}:2")


def test_helm(registry: Server, account: Account, tmp_path: Path) -> None:
    helm = Client("helm", tmp_path)
    chart = tmp_path / "shop"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: shop\nversion: 1.2.3+build.4\n")
    helm("package", chart, "--destination", tmp_path)
    words = ("registry", "login", registry.address, "--plain-http", "--username", account.name)
    helm(*words, "--password-stdin", text_in=account.password)
    where = f"oci://{registry.address}/acme/charts"
    helm("push", tmp_path / "shop-1.2.3+build.4.tgz", where, "--plain-http")
    (tmp_path / "back").mkdir()
    helm("pull", f"{where}/shop", "--plain-http", "--destination", tmp_path / "back")
    assert [file.name for file in (tmp_path / "back").iterdir()] == ["shop-1.2.3+build.4.tgz"]
    shown = helm("show", "chart", f"{where}/shop", "--version", "1.2.3+build.4", "--plain-http")
    assert "version: 1.2.3+build.4" in shown
    tags = Wire(registry, account).request("GET", "/v2/acme/charts/shop/tags/list").json()["tags"]
    assert tags == ["1.2.3_build.4"]
    helm("registry", "logout", registry.address)


def test_buildx(registry: Server, account: Account, tmp_path: Path) -> None:
    """What of buildx needs no builder: an image of several platforms, made on the registry."""
    buildx, crane = Client("buildx", tmp_path), Client("crane", tmp_path)
    where = f"{registry.address}/acme/built"
    words = ("auth", "login", registry.address, "-u", account.name, "--password-stdin")
    crane(*words, text_in=account.password)
    layer = busybox_layer().path
    parts = [f"{where}:{name}" for name in ("amd64", "arm64")]
    for part in parts:
        architecture = part.rpartition(":")[2]
        crane("append", "--new_layer", layer, "--new_tag", part)
        crane("mutate", part, "--set-platform", f"linux/{architecture}", "--tag", part)
    buildx("imagetools", "create", "--tag", f"{where}:1", *parts)
    index = json.loads(buildx("imagetools", "inspect", "--raw", f"{where}:1"))
    found = [one["platform"]["architecture"] for one in index["manifests"]]
    assert sorted(found) == ["amd64", "arm64"]
    promoted = f"{registry.address}/acme/promoted:1"
    buildx("imagetools", "create", "--tag", promoted, f"{where}:1")
    assert json.loads(buildx("imagetools", "inspect", "--raw", promoted)) == index
    assert set(crane("ls", where).split()) == {"1", "amd64", "arm64"}


def build(
    registry: Server, account: Account, builder: str, docker: Docker, name: str
) -> tuple[str, str]:
    """Build an image with its provenance, push it, and pull it; return image and attestation."""
    docker.login(registry.address, account)
    context = Path(docker.environment["DOCKER_CONFIG"]) / "context"
    context.mkdir()
    (context / "hello").write_text(f"hello {name}")
    (context / "Dockerfile").write_text("FROM scratch\nCOPY hello /hello\nCMD /hello\n")
    buildx, image = built("buildx"), f"{registry.address}/{name}"

    def run_it(*words: str | Path) -> str:
        return run(buildx, *words, env=docker.environment, seconds=SECONDS_MAX)

    run_it("create", "--name", "kit", "--driver", "remote", builder)
    flags = ("--builder", "kit", "--provenance=mode=max", "--sbom=false", "--push")
    run_it("build", *flags, "--tag", image, context)
    index = json.loads(run_it("imagetools", "inspect", "--raw", image))
    made, attestation = index["manifests"]
    assert attestation["annotations"] == {
        "vnd.docker.reference.digest": made["digest"],
        "vnd.docker.reference.type": "attestation-manifest",
    }
    told = run_it("imagetools", "inspect", image, "--format", "{{ json .Provenance }}")
    assert "hello" in json.dumps(json.loads(told)), "mode=max has the Dockerfile"
    docker("pull", image)
    assert docker.inspect(image)["Config"]["Cmd"] == ["/bin/sh", "-c", "/hello"]
    return made["digest"], attestation["digest"]


def is_whole(wire: Wire, name: str, digests: Iterable[str]) -> bool:
    """Say whether manifests are there with all that they refer to."""
    for digest in digests:
        answer = wire.request("GET", f"/v2/{name}/manifests/{digest}")
        if answer.status != 200:
            return False
        document = answer.json()
        for blob in (document["config"], *document["layers"]):
            if wire.request("HEAD", f"/v2/{name}/blobs/{blob['digest']}").status != 200:
                return False
    return True


def test_a_build_with_provenance(
    registry: Server, account: Account, builder: str, docker: Docker
) -> None:
    """The attestation goes where its image goes, and stays while that is kept."""
    who = account.name.replace("+", "-")
    name, other, moved = (f"acme/{who}-{word}" for word in ("built", "copied", "moved"))
    parts = build(registry, account, builder, docker, f"{name}:1")
    wire = Wire(registry, account)
    assert is_whole(wire, name, parts)
    registry.admin("repo", "copy", f"{name}:1", f"{other}:1")
    assert is_whole(wire, other, parts)
    registry.admin("repo", "move", other, moved)
    assert is_whole(wire, moved, parts)
    api = Wire(registry, registry.admin_account)
    registry.admin("org", "grant", "acme", "admin", "reader")
    shown = api.with_basic("GET", f"/api/v1/repositories/{name}/images/1").expect(200).json()
    assert [(one["digest"], one["is_attestation"], one["has"]) for one in shown["parts"]] == [
        (parts[0], False, []),
        (parts[1], True, ["provenance"]),
    ]
    registry.admin("repo", "rules", name, "--keep-last", "1")
    plan = json.loads(registry.admin("repo", "rules", name, "--apply", "--yes", "--json"))
    assert (plan["removed"], plan["kept"]) == (0, 1)
    assert is_whole(wire, name, parts)
    registry.admin("repo", "public", name)
    with urllib.request.urlopen(f"http://{registry.address}/{name}:1", timeout=20) as page:
        words = page.read().decode()
    assert "provenance" in words
    assert parts[1] in words


def test_a_keyless_build_with_provenance(
    registry: Server, keyless: Account, builder: str, docker: Docker
) -> None:
    parts = build(registry, keyless, builder, docker, "acme/keyless:1")
    assert is_whole(Wire(registry, keyless), "acme/keyless", parts)

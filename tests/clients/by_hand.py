"""crane, oras, helm and buildx (no builds) against a real server, as a robot and as who signed on.

`make clients` runs this, and nothing else does: it builds the clients from their sources, which
takes minutes and a Go newer than Debian's. What was found is in docs/clients.md; a fault has a test
on the wire in CI.
"""

import json
from pathlib import Path
from typing import Final

from tests.clients.conftest import built
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

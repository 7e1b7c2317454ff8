"""The registries that ours is measured beside: their versions, how they come, what they are told.

Each keeps its data in a directory, asks for no login, logs errors alone and is otherwise as it
comes. What that means for syncing and for what runs beside requests:
- docker-registry and distribution (its version 3) sync nothing; their cache of blob descriptors is
  on, as in the configurations that they bring;
- zot syncs nothing (`commit` off), finds blobs again by their digest and links them (`dedupe` on),
  and collects (`gc` on, hourly), all as it chooses by itself.
"""

import functools
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.go_programs import MADE, CannotBuildError, built

DOCKER_REGISTRY: Final = "docker-registry"
DISTRIBUTION: Final = "distribution"
ZOT: Final = "zot"
VERSIONS: Final = {DOCKER_REGISTRY: "2.8.2", DISTRIBUTION: "3.1.2", ZOT: "2.1.13"}
NAMED: Final = tuple(f"{name} {version}" for name, version in VERSIONS.items())
"""What bars are judged against."""
MODULES: Final = {
    DISTRIBUTION: "github.com/distribution/distribution/v3/cmd/registry",
    ZOT: "zotregistry.dev/zot/v2/cmd/zot",
}
TAGS: Final = {ZOT: "containers_image_openpgp"}
"""Its own build has it, too; without others it is what its makers call minimal."""


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a registry listens, and where its data lie; PEM files for TLS."""

    directory: Path
    host: str
    port: int
    certificate: tuple[Path, Path] | None = None
    """Chain and key."""


@dataclass(frozen=True, slots=True)
class Registry:
    """A program that is there: its name with its version, and what it is started with."""

    name: str
    program: str
    settings: Callable[[Listening], Mapping[str, object]]
    """Its configuration, as JSON has it."""
    variables: Mapping[str, str] = field(default_factory=dict)


def distribution_settings(at: Listening) -> Mapping[str, object]:
    """Return the configuration of version 2 and 3."""
    http: dict[str, object] = {"addr": f"{at.host}:{at.port}"}
    if at.certificate:
        chain, key = at.certificate
        http["tls"] = {"certificate": str(chain), "key": str(key)}
    return {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {
            "cache": {"blobdescriptor": "inmemory"},
            "filesystem": {"rootdirectory": str(at.directory / "root")},
            "delete": {"enabled": True},
        },
        "http": http,
    }


def zot_settings(at: Listening) -> Mapping[str, object]:
    """Return the configuration of zot, which has defaults for all else."""
    http: dict[str, object] = {"address": at.host, "port": str(at.port)}
    if at.certificate:
        chain, key = at.certificate
        http["tls"] = {"cert": str(chain), "key": str(key)}
    return {
        "storage": {"rootDirectory": str(at.directory / "root")},
        "http": http,
        "log": {"level": "error"},
    }


@functools.cache
def docker_registry() -> Registry:
    """Return Debian's package, of whatever version it is; raises CannotBuildError if it is not."""
    program = shutil.which(DOCKER_REGISTRY)
    if program is None:
        raise CannotBuildError(f"{DOCKER_REGISTRY} is a package of Debian's: install it")
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    version = said.stdout.split()[-1].partition("+")[0]
    return Registry(f"{DOCKER_REGISTRY} {version}", program, distribution_settings)


@functools.cache
def distribution() -> Registry:
    """Return version 3, built; without the traces that it would send to a collector."""
    variables = {"OTEL_TRACES_EXPORTER": "none"}  # as in its own container image
    return Registry(_name(DISTRIBUTION), _built(DISTRIBUTION), distribution_settings, variables)


@functools.cache
def zot() -> Registry:
    """Return zot, built without extensions."""
    return Registry(_name(ZOT), _built(ZOT), zot_settings)


KNOWN: Final[Mapping[str, Callable[[], Registry]]] = {
    DOCKER_REGISTRY: docker_registry,
    DISTRIBUTION: distribution,
    ZOT: zot,
}


@functools.cache
def there(names: tuple[str, ...] = ()) -> tuple[Registry, ...]:
    """Return those that are there or can be built, of the names or of all; say why one is not."""
    found = []
    for name in names or KNOWN:
        try:
            found.append(KNOWN[name]())
        except CannotBuildError as problem:
            sys.stderr.write(f"measured without {_name(name)}: {problem}\n")
    return tuple(found)


def _name(name: str) -> str:
    return f"{name} {VERSIONS[name]}"


def _built(name: str) -> str:
    package = f"{MODULES[name]}@v{VERSIONS[name]}"
    return str(built(package, MADE / "peers", tags=TAGS.get(name, "")))

"""The commands by which an image is pulled, or a first one pushed, for the clients that take it.

Pure. Names were checked: nothing in a command has a meaning to a shell.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_TLS: Final = "https://"
CHART: Final = "chart"
ARTIFACT: Final = "artifact"


@dataclass(frozen=True, slots=True)
class Command:
    """What to type, and into which client."""

    client: str
    text: str


@dataclass(frozen=True, slots=True)
class Host:
    """Where the registry is, as clients name it."""

    name: str
    is_secure: bool

    @classmethod
    def of(cls, origin: str) -> "Host":
        """Return the host of an origin such as `https://registry.example`."""
        return cls(origin.partition("://")[2], origin.startswith(_TLS))

    @property
    def unverified(self) -> str:
        """Return what has podman and skopeo speak plain HTTP, where that is spoken."""
        return "" if self.is_secure else "--tls-verify=false "

    @property
    def plain(self) -> str:
        """Return the same for helm and oras."""
        return "" if self.is_secure else "--plain-http "


def pull_commands(host: Host, name: str, reference: str, kind: str) -> Sequence[Command]:
    """Return how to pull an image of this kind, by a tag or a digest."""
    mark = "@" if ":" in reference else ":"
    image = f"{host.name}/{name}{mark}{reference}"
    if kind == CHART:
        chart = f"oci://{host.name}/{name}"
        version = f"{chart}@{reference}" if mark == "@" else f"{chart} --version {reference}"
        return [
            Command("helm", f"helm pull {host.plain}{version}"),
            Command("oras", f"oras pull {host.plain}{image}"),
        ]
    if kind == ARTIFACT:
        return [
            Command("oras", f"oras pull {host.plain}{image}"),
            Command("skopeo", _copy(host, image)),
        ]
    return [
        Command("docker", f"docker pull {image}"),
        Command("podman", f"podman pull {host.unverified}{image}"),
        Command("skopeo", _copy(host, image)),
    ]


def push_commands(host: Host, user: str, namespace: str) -> Sequence[Command]:
    """Return how somebody pushes the first image of a namespace, after a login."""
    image = f"{host.name}/{namespace}/hello:1"
    unverified = "" if host.is_secure else " --dest-tls-verify=false"
    return [
        Command(
            "docker",
            f"docker login {host.name} -u {user}\ndocker pull alpine\n"
            f"docker tag alpine {image}\ndocker push {image}",
        ),
        Command(
            "podman",
            f"podman login {host.unverified}{host.name} -u {user}\n"
            f"podman pull docker.io/library/alpine\n"
            f"podman push {host.unverified}alpine {image}",
        ),
        Command(
            "skopeo",
            f"skopeo login {host.unverified}{host.name} -u {user}\n"
            f"skopeo copy{unverified} docker://docker.io/library/alpine docker://{image}",
        ),
        Command(
            "helm",
            f"helm registry login {host.plain}{host.name} -u {user}\n"
            f"helm create hello && helm package hello\n"
            f"helm push {host.plain}hello-0.1.0.tgz oci://{host.name}/{namespace}",
        ),
        Command(
            "oras",
            f"oras login {host.plain}{host.name} -u {user}\n"
            f"oras push {host.plain}{host.name}/{namespace}/notes:1 README.md:text/markdown",
        ),
    ]


def login_commands(host: Host, user: str) -> Sequence[str]:
    """Return how somebody, or a robot, logs in with a secret that is typed afterwards."""
    return [
        f"docker login {host.name} -u {user}",
        f"podman login {host.unverified}{host.name} -u {user}",
    ]


def _copy(host: Host, image: str) -> str:
    unverified = "" if host.is_secure else "--src-tls-verify=false "
    return f"skopeo copy --all {unverified}docker://{image} oci:image"

"""A real dockerd, and docker's command line as a user of it."""

import json
import os
from pathlib import Path
from typing import Any

from tests.functional.programs import Program, outcome, refused, run
from tests.functional.server import Account
from tests.images import Image, Layout

DOCKER = "/usr/bin/docker"
"""Debian's, of the same version as its dockerd."""


class Daemon:
    """A dockerd with its own root, socket and containerd; no bridge, no packet filter."""

    def __init__(
        self, home: Path, *, hosts: str = "", trusted: Path | None = None, plain: str = ""
    ) -> None:
        """Prepare a daemon; `hosts` and `trusted` take the place of /etc/hosts and certs.d.

        `plain` is a subnet whose registries it speaks to without TLS.
        """
        self._home = home
        self.socket = f"unix://{home}/docker.sock"
        settings = home / "daemon.json"
        settings.write_text("{}")  # not the machine's own
        self._program = Program(
            *self._own_files(hosts, trusted),
            "dockerd",
            f"--host={self.socket}",
            f"--config-file={settings}",
            f"--data-root={home}/data",
            f"--exec-root={home}/exec",
            f"--pidfile={home}/docker.pid",
            "--log-level=warn",
            "--storage-driver=overlay2",
            "--bridge=none",
            "--iptables=false",
            "--ip6tables=false",
            "--ip-forward=false",
            "--userland-proxy=false",
            *([f"--insecure-registry={plain}"] if plain else []),
            log=home / "dockerd.log",
        )

    def _own_files(self, hosts: str, trusted: Path | None) -> list[str]:
        """Return what runs a program in a mount namespace with these files in place."""
        if trusted is None:
            return []
        (self._home / "hosts").write_text(hosts)
        etc = self._home / "etc-docker"
        etc.mkdir()
        script = (
            'mkdir -p /etc/docker && mount --bind "$1" /etc/docker && mkdir -p /etc/docker/certs.d'
            ' && mount --bind "$2" /etc/docker/certs.d && mount --bind "$3" /etc/hosts'
            ' && shift 3 && exec "$@"'
        )
        files = [str(etc), str(trusted), str(self._home / "hosts")]
        return ["unshare", "--mount", "sh", "-c", script, "sh", *files]

    def downloading(self) -> int:
        """Return how many bytes of layers it has received and not yet unpacked."""
        files = (self._home / "data" / "tmp").glob("GetImageBlob*")
        return sum(path.stat().st_size for path in files if path.exists())

    def start(self) -> "Daemon":
        """Start it and return once it answers."""
        self._program.start_until("dockerd answers", self._ready, seconds=40)
        return self

    def _ready(self) -> bool:
        return outcome(DOCKER, f"--host={self.socket}", "version", seconds=10)[0] == 0

    def stop(self) -> None:
        """Stop it, its containers and its containerd."""
        self._program.stop(seconds=30)


class Docker:
    """docker's command line with a configuration of its own, on a daemon without images."""

    def __init__(self, daemon: Daemon, config: Path) -> None:
        self.daemon = daemon
        self.environment = {
            "DOCKER_HOST": daemon.socket,
            "DOCKER_CONFIG": str(config),
            "DOCKER_BUILDKIT": "0",
        }
        self._config = config
        self.forget_images()

    def __call__(self, *words: str, text_in: str = "", seconds: float = 60) -> str:
        """Run a docker command that must succeed, and return what it printed."""
        return run(DOCKER, *words, text_in=text_in, env=self.environment, seconds=seconds)

    def refused(self, *words: str, text_in: str = "", seconds: float = 60) -> str:
        """Run a docker command that must fail, and return what it printed."""
        return refused(DOCKER, *words, text_in=text_in, env=self.environment, seconds=seconds)

    def started(self, *words: str) -> Program:
        """Start a docker command and return it running."""
        number = len(list(self._config.parent.glob("docker-*.log")))
        log = self._config.parent / f"docker-{os.getpid()}-{number}.log"
        program = Program(DOCKER, *words, log=log, env=self.environment)
        program.start()
        return program

    def login(self, address: str, account: Account) -> str:
        """Log in."""
        words = ("login", "--username", account.name, "--password-stdin", address)
        return self(*words, text_in=account.password)

    def login_refused(self, address: str, account: Account) -> str:
        """Log in with what must not be accepted."""
        words = ("login", "--username", account.name, "--password-stdin", address)
        return self.refused(*words, text_in=account.password)

    def load(self, image: Image, name: str, scratch: Path) -> None:
        """Give the daemon an image under a name, as a build would."""
        source = Layout(scratch).tagged(image.uncompressed(), "image")
        target = f"docker-daemon:{name}"
        run("skopeo", "copy", "--quiet", "--dest-daemon-host", self.daemon.socket, source, target)

    def run(self, name: str, *command: str) -> str:
        """Run an image and return what it printed."""
        return self("run", "--rm", "--network=none", "--pull=never", name, *command)

    def inspect(self, name: str) -> Any:
        """Return what docker knows of an image."""
        return json.loads(self("inspect", name))[0]

    def forget_images(self) -> None:
        """Remove every image and so every layer, as on a machine that never pulled."""
        self("image", "prune", "--all", "--force")
        assert not self("images", "--all", "--quiet").split()

"""podman's command line with a storage of its own, as root and without systemd."""

from pathlib import Path

from tests.functional.programs import outcome, refused, run
from tests.functional.server import Account, Server
from tests.images import Image, Layout


class Podman:
    """podman with its own images, containers and login."""

    def __init__(self, home: Path) -> None:
        self._where = [
            f"--root={home}/root",
            f"--runroot={home}/run",
            f"--tmpdir={home}/libpod",
            "--storage-driver=overlay",
            "--cgroup-manager=cgroupfs",
            "--events-backend=file",
        ]
        self.home = home
        (home / "auth.json").write_text("{}")
        self._environment = {"REGISTRY_AUTH_FILE": str(home / "auth.json"), "HOME": str(home)}

    def use_logins_of_docker(self) -> None:
        """Look for logins where podman does when it is told nothing: at last in `~/.docker`."""
        runtime = self.home / "runtime"
        runtime.mkdir()
        self._environment |= {"REGISTRY_AUTH_FILE": "", "XDG_RUNTIME_DIR": str(runtime)}

    def __call__(self, *words: str, text_in: str = "") -> str:
        """Run a podman command that must succeed, and return what it printed."""
        argv = ("podman", *self._where, *words)
        return run(*argv, text_in=text_in, env=self._environment, seconds=120)

    def refused(self, *words: str) -> str:
        """Run a podman command that must fail, and return what it printed."""
        return refused("podman", *self._where, *words, env=self._environment, seconds=120)

    def outcome(self, *words: str) -> tuple[int, str]:
        """Run a podman command; return its exit code and what it printed."""
        return outcome("podman", *self._where, *words, env=self._environment, seconds=120)

    def login(self, server: Server, account: Account) -> str:
        """Log in."""
        words = ("--tls-verify=false", "--username", account.name, "--password-stdin")
        return self("login", *words, server.address, text_in=account.password)

    def pull(self, name: str) -> str:
        """Pull an image."""
        return self("pull", "--quiet", "--tls-verify=false", name)

    def push(self, name: str, *flags: str) -> str:
        """Push an image."""
        return self("push", "--tls-verify=false", *flags, name)

    def load(self, image: Image, name: str, scratch: Path) -> None:
        """Give podman an image under a name, as a build would."""
        source = Layout(scratch).tagged(image.uncompressed(), "image")
        identity = self("pull", "--quiet", source).split()[-1]
        self("tag", identity, name)

    def run(self, name: str, *command: str) -> str:
        """Run an image and return what it printed."""
        return self(
            "run",
            "--rm",
            "--network=none",
            "--ulimit=nofile=256:256",
            "--ulimit=nproc=256:256",
            "--pull=never",
            name,
            *command,
        )

    def close(self) -> None:
        """Remove images and containers, and unmount what they used."""
        self("rmi", "--all", "--force")

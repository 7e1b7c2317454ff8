"""A machine to install things on: this one's files, and whatever is changed is changed in memory.

Its root is an overlay in a namespace of mounts, so commands of a page run as they stand there, as
root, and nothing of this machine is touched. systemd does not run in it: `systemctl enable` works
there, and the service itself is started by what the unit says.
"""

import re
from pathlib import Path

from tests.functional.programs import Program, run

SETUP = """
set -e
mount -t tmpfs none "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
mount --rbind /proc "$1/root/proc"
mount --rbind /dev "$1/root/dev"
for file in /etc/resolv.conf /etc/hosts; do  # in a container they are mounts, too
    [ ! -f "$file" ] || mount --bind "$file" "$1/root$file"
done
mkdir -p "$1/root/root/here/dist"
mount --bind "$2" "$1/root/root/here/dist"
rm -rf "$1/root/opt/treescale" "$1/root/etc/treescale" "$1/root/srv/treescale"
ip link set lo up
echo ready
exec sleep 1000
"""


class Machine:
    """One that is thrown away at the end."""

    def __init__(self, home: Path, dist: Path) -> None:
        self._home = home
        (home / "machine").mkdir()
        self.root = home / "machine" / "root"
        flags = ("unshare", "--mount", "--net", "sh", "-c", SETUP, "sh")
        self._holder = Program(*flags, home / "machine", dist, log=home / "machine.log")
        self.service = Program("true", log=home / "service.log")

    def start(self) -> "Machine":
        """Return it once it is there."""
        log = self._holder.log
        ready = lambda: "ready" in log.read_text()  # noqa: E731
        self._holder.start_until("the machine is there", ready, seconds=20)
        return self

    @property
    def pid(self) -> int:
        """Return the process that holds its namespaces."""
        return self._holder.pid

    def bind(self, *directories: Path) -> None:
        """Have these of this machine at the same paths, should they lie on another disk."""
        enter = ("nsenter", f"--target={self.pid}", "--mount")
        for directory in directories:
            there = f"{self.root}{directory}"
            run(*enter, "mkdir", "-p", there)
            run(*enter, "mount", "--bind", directory, there)

    def close(self) -> None:
        """Throw it away."""
        self.service.kill()
        self._holder.kill()

    def _inside(self, *, net: bool) -> list[str]:
        namespaces = ["--mount", "--net"] if net else ["--mount"]
        enter = ["nsenter", f"--target={self._holder.pid}", *namespaces]
        return [*enter, "chroot", str(self.root)]

    def type(self, commands: str, *, net: bool = False, seconds: float = 300) -> str:
        """Run commands as root types them, in the directory that has `dist/`."""
        path = "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
        # no systemd is there to be asked, and compiling takes longer than all else
        words = ("env", "-i", path, "HOME=/root", "SYSTEMD_OFFLINE=1", "PIP_NO_COMPILE=1")
        kept = ("sh", "-e", "-u", "-c", f"cd /root/here\n{commands}")
        found = self._pip_variables()
        return run(*self._inside(net=net), *words, *found, *kept, seconds=seconds)

    @staticmethod
    def _pip_variables() -> list[str]:
        """Return how pip reaches packages from this machine, if that is a matter of variables."""
        text = Path("/proc/self/environ").read_text()
        names = r"(?:PIP_|UV_|https?_proxy|HTTPS?_PROXY|SSL_CERT)"
        return [each for each in text.split("\0") if re.match(names, each)]

    def read(self, path: str) -> str:
        """Return the text of a file of it."""
        return self.type(f"cat {path}")

    def start_service(self, name: str) -> None:
        """Start what systemd would by a unit: as its user, with its capabilities and no others."""
        unit = self.read(f"/etc/systemd/system/{name}")
        said = dict(re.findall(r"^(\w+)=(.+)$", unit, re.MULTILINE))
        capability = said["AmbientCapabilities"].removeprefix("CAP_").lower()
        only = f"-all,+{capability}"
        self.service = Program(
            *self._inside(net=True),
            *("setpriv", f"--reuid={said['User']}", f"--regid={said['Group']}", "--init-groups"),
            *(f"--bounding-set={only}", f"--inh-caps={only}", f"--ambient-caps={only}"),
            "--no-new-privs",
            *said["ExecStart"].split(),
            log=self._home / "service.log",
        )
        self.service.start_until(f"{name} serves", self.serves, seconds=40)

    def serve(self, *words: str) -> None:
        """Start a server by hand, as root."""
        path = "PATH=/usr/local/bin:/usr/bin:/bin"
        argv = (*self._inside(net=True), "env", "-i", path, "HOME=/root", "treescale", *words)
        self.service = Program(*argv, log=self._home / "service.log")
        self.service.start_until("it serves", self.serves, seconds=60)

    def serves(self) -> bool:
        """Say whether /v2/ on port 443 asks for a login."""
        return self.status("/v2/") == 401

    def status(self, path: str) -> int:
        """Return what is answered on port 443 of it; 0 is nothing."""
        script = (
            "import http.client, ssl\n"
            "context = ssl._create_unverified_context()\n"
            "try:\n"
            "    c = http.client.HTTPSConnection('127.0.0.1', context=context, timeout=5)\n"
            f"    c.request('GET', '{path}')\n"
            "    print(c.getresponse().status)\n"
            "except OSError:\n"
            "    print(0)\n"
        )
        return int(self.type(f'/usr/bin/python3 -c "{script}"', net=True))

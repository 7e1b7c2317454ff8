"""The image of deploy/Containerfile: built, and run as docs/operations.md says."""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import images
from tests.functional.conftest import short_directory
from tests.functional.podman import Podman
from tests.functional.programs import free_port, run, wait_until
from tests.functional.server import ADMIN_PASSWORD, Account
from tests.functional.skopeo import Skopeo
from tests.images import Image, Layout

pytestmark = pytest.mark.early

ROOT = Path(__file__).parents[2]
BASE = "localhost/python-of-debian"
IMAGE = "localhost/treescale:0.2.0"
PYTHON = (
    *("python3-minimal", "python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib"),
    *("python3.11-venv", "python3-distutils", "python3-pip-whl", "python3-setuptools-whl"),
    *("zlib1g", "libssl3", "libexpat1", "libffi8", "libsqlite3-0", "libuuid1", "libbz2-1.0"),
    *("liblzma5", "libcrypt1", "libstdc++6", "media-types"),
)
STOP_SECONDS_MAX = 10


@dataclass(frozen=True)
class Registry:
    """A container that serves."""

    port: int

    @property
    def address(self) -> str:
        """Return host and port."""
        return f"127.0.0.1:{self.port}"


@pytest.fixture(scope="module")
def base() -> Image:
    """Return what stands for the public base: Debian's Python, as it is on this machine."""
    layers = [
        images.debian_layer("libc", images.LIBC),
        images.debian_layer("shell", images.SHELL),
        images.debian_layer("python", PYTHON),
    ]
    return Image(layers, ["python3"])


@pytest.fixture
def podman() -> Iterator[Podman]:
    """Return one that knows the image."""
    with short_directory() as home:
        podman = Podman(home)
        yield podman
        podman("rm", "--all", "--force", "--time=0")
        podman.close()


def context(home: Path) -> Path:
    """Return what `make dist` makes, with the wheels that a machine without a network needs."""
    dist = home / "dist"
    dist.mkdir()
    for path in (ROOT / ".make" / "dist").iterdir():
        (dist / path.name).write_bytes(path.read_bytes())
    lock = dist / "requirements.lock"
    words = ("--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:")
    python = "--python-version=3.11"  # the base's
    pip = (sys.executable, "-m", "pip", "download", *words, python)
    run(*pip, "--dest", dist, "-r", lock, seconds=120)
    return dist


@pytest.mark.timeout(400)  # so it is in a build
def test_the_image_is_built_serves_and_ends(
    podman: Podman, base: Image, busybox: Image, tmp_path: Path
) -> None:
    """Not as root, and with a root that cannot be written to."""
    podman.load(base, BASE, tmp_path / "base")
    words = ("--format=docker", "--isolation=chroot", "--build-arg=PIP_NO_INDEX=1")
    file = ROOT / "deploy" / "Containerfile"
    podman(
        *("build", *words, f"--build-arg=BASE={BASE}", "--pull=never", "--quiet"),
        *(f"--tag={IMAGE}", f"--file={file}", str(context(tmp_path))),
    )
    registry = Registry(free_port())
    podman(
        *("run", "--detach", "--name=registry", "--network=host", "--pull=never"),
        *("--read-only", "--read-only-tmpfs=false", "--tmpfs=/tmp", "--volume=registry:/data"),
        *("--cap-drop=all", "--security-opt=no-new-privileges"),
        *("--ulimit=nofile=4096:4096", "--ulimit=nproc=4096:4096"),
        *(f"--env=TREESCALE_LISTEN=127.0.0.1:{registry.port}", "--env=TREESCALE_WORKERS=2"),
        *(f"--env=TREESCALE_ADMIN_PASSWORD={ADMIN_PASSWORD}", IMAGE),
    )
    wait_until("it is healthy", lambda: health(podman) == "healthy", every=0.3)
    assert podman("exec", "registry", "id", "-u").strip() == "10001"
    assert "Read-only file system" in podman.refused("exec", "registry", "touch", "/opt/file")

    skopeo = Skopeo(registry, Account("admin", ADMIN_PASSWORD), tmp_path)
    source = Layout(tmp_path / "source").tagged(busybox, "1")
    skopeo.copy(source, skopeo.at("admin/app:1"))
    skopeo.copy(skopeo.at("admin/app:1"), f"dir:{tmp_path}/back")

    begun = time.monotonic()
    podman("stop", "registry")
    assert time.monotonic() - begun < STOP_SECONDS_MAX
    assert json.loads(podman("inspect", "registry"))[0]["State"]["ExitCode"] == 0


def health(podman: Podman) -> str:
    """Return what the image's own check finds, which without systemd nobody else runs."""
    code = podman.outcome("healthcheck", "run", "registry")[0]
    state = json.loads(podman("inspect", "registry"))[0]["State"]
    assert state["Running"], podman("logs", "registry")
    assert (state["Health"]["Status"] == "healthy") == (code == 0)
    return str(state["Health"]["Status"])

"""Programs of others that Debian has not, built by Go from their modules, once, below `.make`."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

GO: Final = "/usr/local/go/bin/go"
MADE: Final = Path(__file__).parents[1] / ".make"
BUILD_SECONDS_MAX: Final = 3600


class CannotBuildError(Exception):
    """There is no Go, or it said why not."""


def built(package: str, place: Path, *, tags: str = "") -> Path:
    """Return the path of a `package@version` in `place`, built if it was not; or raise why not.

    Another version is another program: `place` has a folder for each.
    """
    name, _, version = package.partition("@")
    folder = place / version
    program = folder / name.rpartition("/")[2]
    if not program.exists():
        go = shutil.which("go") or GO
        if not Path(go).exists():
            raise CannotBuildError(f"{program.name} is built by Go: install it (https://go.dev/dl)")
        environment = {**os.environ, "GOBIN": str(folder), "CGO_ENABLED": "0"}
        command = ["nice", "-n", "19", go, "install", *(["-tags", tags] if tags else []), package]
        done = subprocess.run(
            command,
            env=environment,
            timeout=BUILD_SECONDS_MAX,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise CannotBuildError(f"go install {package}: {done.stdout[-1000:].strip()}")
    return program

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
    program = _program(package, place)
    if not program.exists():
        words = ["install", *(["-tags", tags] if tags else []), package]
        _go(program, words, GOBIN=str(program.parent))
    return program


def built_as_dependency(package: str, place: Path) -> Path:
    """Return the path of a program likewise, of a module that `go install` refuses.

    Its go.mod replaces what it needs, which counts in a main module alone: here another module is
    that, and needs the package.
    """
    program = _program(package, place)
    if not program.exists():
        module = program.parent / "module"
        module.mkdir(parents=True, exist_ok=True)
        (module / "go.mod").write_text("module clients\n")
        _go(program, ["get", package], folder=module)
        _go(program, ["build", "-o", str(program), package.partition("@")[0]], folder=module)
    return program


def _program(package: str, place: Path) -> Path:
    name, _, version = package.partition("@")
    return place / version / name.rpartition("/")[2]


def _go(program: Path, words: list[str], *, folder: Path | None = None, **more: str) -> None:
    """Run Go, as politely as it goes; raise what it says when it fails."""
    go = shutil.which("go") or GO
    if not Path(go).exists():
        raise CannotBuildError(f"{program.name} is built by Go: install it (https://go.dev/dl)")
    done = subprocess.run(
        ["nice", "-n", "19", go, *words],
        cwd=folder,
        env={**os.environ, "CGO_ENABLED": "0", **more},
        timeout=BUILD_SECONDS_MAX,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise CannotBuildError(f"go {' '.join(words)}: {done.stdout[-1000:].strip()}")

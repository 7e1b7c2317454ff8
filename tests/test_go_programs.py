"""Programs built by Go: once for each version, and what is said when it cannot be."""

from pathlib import Path

import pytest

from tests import go_programs
from tests.go_programs import CannotBuildError, built, built_as_dependency

PACKAGE = "example.org/tool/cmd/tool@v1.2.3"
MAKES = '#!/bin/sh\necho "$@" >>"$0.log"\necho made >"$GOBIN/tool"\n'
NEEDS = (
    '#!/bin/sh\necho "$@" in $(cat go.mod) >>"$0.log"\n'
    '[ "$1" = get ] || { [ "$1" = build ] && echo made >"$3"; }\n'
)
REFUSES = "#!/bin/sh\necho go: 403 Forbidden\nexit 1\n"


def go(directory: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = directory / "go"
    program.write_text(script)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")
    return program.with_name("go.log")


def test_a_version_is_built_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = tmp_path / "made"
    (place / "v1.2.3").mkdir(parents=True)
    (place / "v1.2.4").mkdir()
    log = go(tmp_path, MAKES, monkeypatch)
    assert built(PACKAGE, place, tags="small") == place / "v1.2.3" / "tool"
    built(PACKAGE, place)
    built(PACKAGE.replace("2.3", "2.4"), place)
    assert log.read_text().splitlines() == [
        f"install -tags small {PACKAGE}",
        f"install {PACKAGE.replace('2.3', '2.4')}",
    ]


def test_one_that_go_does_not_install_is_built_as_a_dependency(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = tmp_path / "made"
    log = go(tmp_path, NEEDS, monkeypatch)
    program = built_as_dependency(PACKAGE, place)
    assert program == place / "v1.2.3" / "tool"
    assert program.read_text() == "made\n"
    built_as_dependency(PACKAGE, place)
    assert log.read_text().splitlines() == [
        f"get {PACKAGE} in module clients",
        f"build -o {program} example.org/tool/cmd/tool in module clients",
    ]


def test_what_go_refuses_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    go(tmp_path, REFUSES, monkeypatch)
    with pytest.raises(CannotBuildError, match=r"go install example.*: go: 403 Forbidden"):
        built(PACKAGE, tmp_path / "made")
    with pytest.raises(CannotBuildError, match=r"go get example.*: go: 403 Forbidden"):
        built_as_dependency(PACKAGE, tmp_path / "made")


def test_without_go_it_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(go_programs, "GO", "/nowhere/go")
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(CannotBuildError, match="tool is built by Go: install it"):
        built(PACKAGE, tmp_path / "made")

"""What other registries are told, and what is said of one that is not there."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import registries
from bench.registries import Listening, Registry
from tests.go_programs import CannotBuildError

AT = Listening(Path("/data"), "127.0.0.1", 5000)
TLS = Listening(Path("/data"), "127.0.0.1", 5000, (Path("/chain.pem"), Path("/key.pem")))


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    registries.there.cache_clear()
    yield
    registries.there.cache_clear()


def test_distribution_keeps_files_and_asks_for_no_login() -> None:
    told = json.loads(json.dumps(registries.distribution_settings(AT)))
    assert told["http"] == {"addr": "127.0.0.1:5000"}
    assert told["storage"]["filesystem"] == {"rootdirectory": "/data/root"}
    assert "auth" not in told
    tls = json.loads(json.dumps(registries.distribution_settings(TLS)))["http"]["tls"]
    assert tls == {"certificate": "/chain.pem", "key": "/key.pem"}


def test_zot_is_left_its_own_choices() -> None:
    told = json.loads(json.dumps(registries.zot_settings(AT)))
    assert told["storage"] == {"rootDirectory": "/data/root"}
    assert told["http"] == {"address": "127.0.0.1", "port": "5000"}
    tls = json.loads(json.dumps(registries.zot_settings(TLS)))["http"]["tls"]
    assert tls == {"cert": "/chain.pem", "key": "/key.pem"}


def test_one_that_is_not_there_is_named_and_the_others_are_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old = Registry("docker-registry 2.8.2", "/old", registries.distribution_settings)

    def refused() -> Registry:
        raise CannotBuildError("the proxy answered 403")

    known = {registries.DOCKER_REGISTRY: lambda: old, registries.ZOT: refused}
    monkeypatch.setattr(registries, "KNOWN", known)
    assert registries.there() == (old,)
    said = capsys.readouterr().err
    assert said == f"measured without {registries.NAMED[-1]}: the proxy answered 403\n"
    assert registries.there((registries.DOCKER_REGISTRY,)) == (old,)
    assert not capsys.readouterr().err


def test_debians_version_is_the_programs_word(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "docker-registry"
    program.write_text("#!/bin/sh\necho docker-registry github.com/docker/distribution 2.8.9+ds1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    found = registries.docker_registry.__wrapped__()
    assert (found.name, found.program) == ("docker-registry 2.8.9", str(program))
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(CannotBuildError, match="Debian"):
        registries.docker_registry.__wrapped__()


def test_a_program_that_lies_there_is_not_built(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "peers" / f"v{registries.VERSIONS[registries.ZOT]}" / "zot"
    program.parent.mkdir(parents=True)
    program.touch()
    monkeypatch.setattr(registries, "MADE", tmp_path)
    found = registries.zot.__wrapped__()
    assert (found.name, found.program) == (registries.NAMED[-1], str(program))

"""The files of docs/clients.md, as they stand there, in the hands of the clients they are for."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.functional.certificates import Authority
from tests.functional.conftest import Serve, short_directory
from tests.functional.programs import Program, outcome, run
from tests.functional.server import Account, Options, Server
from tests.functional.skopeo import Skopeo
from tests.functional.test_read_only import read_only
from tests.images import Image, Layout

PAGE: Final = (Path(__file__).parents[2] / "docs/clients.md").read_text(encoding="utf-8")


def block(kind: str) -> str:
    """Return the one block of that kind on the page."""
    (found,) = re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
def secure(serve: Serve, authority: Authority) -> Server:
    pair = authority.pair()
    return serve(Options(tls=True, certificate=(pair / "tls.crt", pair / "tls.key")))


@pytest.fixture
def pushed(secure: Server, authority: Authority, busybox: Image, tmp_path: Path) -> Account:
    """Return an account that has an image, pushed with the authority where skopeo looks for it."""
    account = secure.add_token(secure.add_user("alice"), "--allow", "pull,push")
    home = tmp_path / "home"
    words = (
        *("skopeo", "copy", f"--dest-creds={account.name}:{account.password}"),
        Layout(tmp_path / "layout").tagged(busybox, "1"),
        f"docker://{secure.address}/alice/app:1",
    )
    environment = {"HOME": str(home), "XDG_CONFIG_HOME": ""}
    code, said = outcome(*words, env=environment)
    assert (code, "unknown authority" in said) == (1, True), "the control: nobody is trusted yet"
    trusted = home / ".config/containers/certs.d" / secure.address
    trusted.mkdir(parents=True)
    (trusted / "ca.crt").write_bytes(authority.certificate.read_bytes())
    run(*words, env=environment)
    return account


@pytest.fixture
def containerd() -> Iterator[Path]:
    """Return the socket of a containerd of the test's own, without what Kubernetes asks."""
    with short_directory() as home:
        config = home / "config.toml"
        config.write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
        socket = home / "s"
        program = Program(
            *("containerd", "--config", config, "--root", home / "root"),
            *("--state", home / "state", "--address", socket),
            log=home / "log",
        )
        program.start_until("containerd is there", socket.exists, seconds=20)
        yield socket
        program.stop()


def test_containerd_trusts_and_logs_in(
    secure: Server, pushed: Account, authority: Authority, containerd: Path, tmp_path: Path
) -> None:
    hosts = tmp_path / "certs.d"
    place = hosts / secure.address
    place.mkdir(parents=True)
    words = (
        *("ctr", f"--address={containerd}", "content", "fetch", f"--hosts-dir={hosts}"),
        *("--user", f"{pushed.name}:{pushed.password}", f"{secure.address}/alice/app:1"),
    )
    text = block("hosts").replace("registry.example", secure.address)
    text = text.replace("/etc/containerd/certs.d", str(hosts))
    (place / "ca.crt").write_bytes(authority.certificate.read_bytes())
    (place / "hosts.toml").write_text("".join(re.findall(r"(?m)^(?!  ca = ).*\n", text)))
    code, said = outcome(*words)
    assert (code, "unknown authority" in said) == (1, True), "the control: without its `ca`"
    (place / "hosts.toml").write_text(text)
    run(*words)
    images = ("ctr", f"--address={containerd}", "images")
    flags, name = words[4:7], f"{secure.address}/alice/app"
    run(*images, "pull", *flags, f"{name}:1")
    run(*images, "tag", f"{name}:1", f"{name}:2")
    run(*images, "push", *flags, f"{name}:2")


def test_containerd_pulls_and_pushes_and_says_that_it_may_not_while_all_is_read_only(
    server: Server, alice: Account, skopeo: Skopeo, busybox: Image, containerd: Path, tmp_path: Path
) -> None:
    """By `ctr`, as docs/clients.md has it; Kubernetes uses the same code."""
    layout = Layout(tmp_path / "layout")
    skopeo.copy(layout.tagged(busybox, "1"), skopeo.at(f"{alice.name}/app:1"))
    ctr = ("ctr", f"--address={containerd}", "images")
    plain = ("--plain-http", "--user", f"{alice.name}:{alice.password}")
    name = f"{server.address}/{alice.name}/app"
    code, said = outcome(*ctr, "pull", "--plain-http", f"{name}:1")
    assert (code, "pull access denied" in said) == (1, True), "the control: without a login"
    run(*ctr, "pull", *plain, f"{name}:1")
    run(*ctr, "tag", f"{name}:1", f"{name}:2")
    run(*ctr, "push", *plain, f"{name}:2")
    assert skopeo.inspect_raw(f"{alice.name}/app:2") == skopeo.inspect_raw(f"{alice.name}/app:1")
    other = f"{server.address}/{alice.name}/other:1"
    run(*ctr, "tag", f"{name}:1", other)
    for what, told in ((alice.name, "403 Forbidden"), ("", "503 Service Unavailable")):
        with read_only(server, what):
            code, said = outcome(*ctr, "push", *plain, other)
            assert (code, told in said) == (1, True), said
            run(*ctr, "pull", *plain, f"{name}:2")
    run(*ctr, "push", *plain, other)


def test_skopeo_takes_a_server_without_tls_for_what_it_is(
    serve: Serve, busybox: Image, tmp_path: Path
) -> None:
    server = serve(Options())
    account = server.add_user("alice")
    registries = tmp_path / "registries.conf"
    registries.write_text(block("registries").replace("s3.example:5000", server.address))
    words = (
        *("skopeo", "copy", f"--dest-creds={account.name}:{account.password}"),
        Layout(tmp_path / "layout").tagged(busybox, "1"),
        f"docker://{server.address}/alice/app:1",
    )
    code, said = outcome(*words)
    assert (code, "HTTP response to HTTPS client" in said) == (1, True), "the control"
    run("skopeo", f"--registries-conf={registries}", *words[1:])


def test_buildkits_file_names_what_buildkit_knows() -> None:
    """BuildKit is not at hand here; the keys are those of its `RegistryConfig`."""
    (known,) = tomllib.loads(block("buildkit"))["registry"].values()
    assert known.keys() <= {"mirrors", "http", "insecure", "ca", "keypair", "tlsconfigdir"}
    assert all(isinstance(path, str) for path in known["ca"])

"""docs/come-over.md, typed as it stands: from docker-registry, and from what says it is Harbor."""

import json
import os
import re
import signal
import socket
import subprocess
import threading
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest

from tests.functional.conftest import Serve
from tests.functional.older import READER, DockerRegistry, Harbor
from tests.functional.programs import wait_until
from tests.functional.server import TREESCALE, Account, Options, Server
from tests.functional.skopeo import Skopeo
from tests.functional.wire import Wire, written
from tests.images import Image, Layout, noise, sha256_of

pytestmark = pytest.mark.early

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs/come-over.md").read_text(encoding="utf-8")
SETUP, LIST, PEOPLE, ACCOUNTS, TOKENS, COPY, RIGHTS, COMPARE = re.findall(
    r"```sh\n(.*?)```", PAGE, re.DOTALL
)
MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
ACCESS: Final = [
    {"resource": "repository", "action": "push"},
    {"resource": "repository", "action": "pull"},
    {"resource": "artifact", "action": "read"},
]
EMPTY: Final = "application/vnd.oci.empty.v1+json"
SECONDS_MAX: Final = 120
ADMINISTRATOR: Final = 2
UNPAGED: Final = [
    {"entity_type": "u", "entity_name": f"user{n:03}", "role_name": "guest"} for n in range(3, 101)
]
"""Members beside two others: as many as a page has, in a list that Harbor gives whole."""


class Typist:
    """Somebody who types the page's commands in one directory."""

    def __init__(self, home: Path, old: str, new: Server, login: Account | None) -> None:
        self.home = home
        home.mkdir()
        self._old, self._new, self._login = old, new, login

    def words(self, commands: str) -> list[str]:
        """Return what is run for them."""
        installed = "/opt/treescale/0.2.0/share/treescale/come-over"
        commands = commands.replace(installed, str(ROOT / "deploy/come-over"))
        commands = commands.replace("treescale user", f"{TREESCALE} user")
        commands = commands.replace("treescale token", f"{TREESCALE} token")
        commands = commands.replace("treescale repo", f"{TREESCALE} repo")
        # it asks for the password at a terminal; and both speak plain HTTP here
        commands = commands.replace("skopeo login ", "skopeo login --tls-verify=false ")
        login = f"--password '{self._login.password}'" if self._login else ""
        commands = commands.replace("--username reader", f"--username reader {login}")
        commands = f"{SETUP.splitlines()[0]}\n{commands}"
        commands = commands.replace("old.example:5000", self._old)
        commands = commands.replace("registry.example", self._new.address)
        return ["bash", "-e", "-u", "-o", "pipefail", "-c", commands]

    def environment(self) -> dict[str, str]:
        """Return where the commands find the cluster, and that nobody speaks TLS."""
        told = {"TREESCALE_DATA": str(self._new.disks[0]), "FROM_PLAIN": "yes", "TO_PLAIN": "yes"}
        return {**os.environ, **told}

    def type(self, commands: str) -> tuple[int, str]:
        """Return the exit status and what is said."""
        done = subprocess.run(
            self.words(commands),
            cwd=self.home,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )
        return done.returncode, done.stdout

    def typed(self, *blocks: str) -> str:
        """Type what must succeed; return what the last one says."""
        said = ""
        for block in blocks:
            code, said = self.type(block)
            assert code == 0, f"{block}\n{said}"
        return said


@pytest.fixture
def old(tmp_path: Path) -> Iterator[DockerRegistry]:
    registry = DockerRegistry(tmp_path / "old", logins=True).start()
    yield registry
    registry.program.kill()


@pytest.fixture
def unguarded(tmp_path: Path) -> Iterator[DockerRegistry]:
    registry = DockerRegistry(tmp_path / "unguarded", logins=False).start()
    yield registry
    registry.program.kill()


def pushed(old: DockerRegistry, home: Path, busybox: Image, perl: Image) -> list[str]:
    """Push what people have there; return the new names, with tags."""
    layout = Layout(home / "layout")
    skopeo = Skopeo(old, READER, home)
    both = layout.tag(layout.index([busybox, perl]), "both")
    skopeo.copy(both, skopeo.at("team/app:1"), "--all")
    digest = digest_of(skopeo, "team/app:1")
    signature = layout.tagged(busybox, "signature")
    for name in ("app:1", "app:2", "a/b/c:1", "team/app:2"):
        skopeo.copy(
            layout.tagged(busybox, name.replace("/", "-").replace(":", "-")), skopeo.at(name)
        )
    signed = f"team/app:{digest.replace(':', '-')}.sig"
    skopeo.copy(signature, skopeo.at(signed))
    return ["library/app:1", "library/app:2", "a/b/c:1", "team/app:1", "team/app:2", signed]


def digest_of(skopeo: Skopeo, name: str) -> str:
    """Return the digest of what a tag points at."""
    return str(skopeo.inspect(name)["Digest"])


def test_docker_registry_comes_over_though_it_is_broken_off(
    old: DockerRegistry, serve: Serve, busybox: Image, perl: Image, tmp_path: Path
) -> None:
    """Every tag, platform and signature; the old one's users with new passwords."""
    names = pushed(old, tmp_path, busybox, perl)
    new = serve(Options())
    somebody = Typist(tmp_path / "work", old.address, new, READER)
    somebody.typed(SETUP, LIST)
    listed = (somebody.home / "repositories").read_text().splitlines()
    assert listed == ["a/b/c a/b/c", "app library/app", "team/app team/app"]
    assert "is there" in somebody.type(LIST)[1], "nothing that was edited is written over"
    (somebody.home / "htpasswd").write_text(old.htpasswd.read_text())
    new.admin("user", "add", "a", "--password-stdin", text_in="what a had before")
    somebody.typed(PEOPLE, ACCOUNTS, TOKENS)
    assert not (somebody.home / "passwords" / "a").exists(), "it would be the wrong one"
    accounts = {each["name"] for each in json.loads(new.admin("user", "list", "--json"))}
    assert accounts == {"admin", "alice", "reader", "team", "a", "library"}
    password = (somebody.home / "passwords" / "alice").read_text().strip()
    Wire(new, Account("alice", password)).with_basic("GET", "/v2/").expect(200)

    broken_off(somebody)
    code, said = somebody.type(COMPARE)
    assert (code, "differs\t" in said) == (1, True), "the control: it is not all there"
    said = somebody.typed(COPY)
    assert "all is copied" in said
    assert "copied a/b/c:1" not in said.replace(f"{new.address}/", ""), "what was there is left out"
    assert f"{len(names)} tags are the same, 0 differ" in somebody.typed(COMPARE)

    Skopeo(old, READER, tmp_path).copy(
        f"oci:{tmp_path}/layout:both", f"docker://{old.address}/app:2", "--all"
    )
    code, said = somebody.type(COMPARE)
    assert (code, re.findall(r"differs\t(\S+)", said)) == (1, ["library/app:2"])
    assert f"{len(names) - 1} tags are the same, 1 differ" in said
    said = somebody.typed(COPY).replace("all is copied", "")
    assert re.findall(r"copied (\S+)", said) == [f"{new.address}/library/app:2"]


def broken_off(somebody: Typist) -> None:
    """Type `copy`, and kill it when the first image is there."""
    log = somebody.home / "log"
    with log.open("w") as file:
        copying = subprocess.Popen(
            somebody.words(COPY),
            cwd=somebody.home,
            env=somebody.environment(),
            stdin=subprocess.DEVNULL,
            stderr=file,
            start_new_session=True,
        )
    wait_until("the first is copied", lambda: "copied" in log.read_text(), seconds=60)
    os.killpg(copying.pid, signal.SIGKILL)
    copying.wait()


def harbor_of(images: DockerRegistry, home: Path, busybox: Image) -> tuple[Harbor, str]:
    """Return one with a project of each kind, a signed image, and the digest of the signature."""
    layout = Layout(home / "layout")
    skopeo = Skopeo(images, None, home)
    for name in ("shop/web:1", "tools/build/gcc:12"):
        skopeo.copy(
            layout.tagged(busybox, name.replace("/", "-").replace(":", "-")), skopeo.at(name)
        )
    wire = Wire(images)
    subject = digest_of(skopeo, "shop/web:1")
    signature = signature_of(wire, "shop/web", subject)
    project = [{"kind": "project", "namespace": "shop", "access": ACCESS}]
    lists: dict[str, list[Any]] = {
        "users": [
            {"user_id": n, "username": f"user{n:03}", "sysadmin_flag": n == ADMINISTRATOR}
            for n in range(2, 132)
        ],
        "projects": [
            {"project_id": 1, "name": "shop", "metadata": {"public": "true"}},
            {"project_id": 7, "name": "tools", "metadata": {"public": "false"}},
        ],
        "projects/1/members": [
            {"entity_type": "u", "entity_name": "user002", "role_name": "developer"},
            {"entity_type": "g", "entity_name": "ops", "role_name": "guest"},
            *UNPAGED,
        ],
        "projects/7/members": [],
        "robots": [],
        "robots?Level=project,ProjectID=1": [{"name": "robot$shop+ci", "permissions": project}],
        "robots?Level=project,ProjectID=7": [],
        "repositories": [{"name": "shop/web"}, {"name": "tools/build/gcc"}],
    }
    described = {"mediaType": MANIFEST, "digest": signature, "size": 1}
    unpaged = ("projects/1/members",)
    return Harbor(images, lists, {subject: [described]}, unpaged), signature


def signature_of(wire: Wire, repository: str, subject: str) -> str:
    """Push what refers to an image, without a tag; return its digest."""
    config, layer = b"{}", noise(500)
    found = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": blob(wire, repository, config, EMPTY),
        "layers": [blob(wire, repository, layer, "application/vnd.example.signature")],
        "subject": {"mediaType": MANIFEST, "digest": subject, "size": 1},
    }
    return wire.push_manifest(repository, sha256_of(written(found)), found)


def blob(wire: Wire, repository: str, data: bytes, kind: str) -> dict[str, object]:
    return {"mediaType": kind, "digest": wire.push_blob(repository, data), "size": len(data)}


def test_harbor_comes_over_with_rights_and_referrers(
    unguarded: DockerRegistry, serve: Serve, busybox: Image, tmp_path: Path
) -> None:
    harbor, signature = harbor_of(unguarded, tmp_path, busybox)
    new = serve(Options())
    with harbor.running():
        somebody = Typist(tmp_path / "work", harbor.address, new, None)
        somebody.typed(SETUP.rpartition("skopeo login")[0], "sh come-over.sh list-harbor")
        people = (somebody.home / "people").read_text().splitlines()
        assert (len(people), people[0]) == (130, "user002"), "of several pages"
        assert (somebody.home / "administrators").read_text() == "user002\n"
        members = (somebody.home / "members").read_text().splitlines()
        assert members[:2] == ["shop\tu\tuser002\tdeveloper", "shop\tg\tops\tguest"]
        assert len(members) == 2 + len(UNPAGED), "each once, though the list has no pages"
        (somebody.home / "people").write_text("user002\n")  # an account takes a second
        somebody.typed(ACCOUNTS, ACCOUNTS, TOKENS, COPY)
        robots = somebody.home / "robots"
        known = robots.read_text()
        robots.write_text(f"robot$nobody\tnobody\tpull\n{known}")  # a project without an account
        somebody.typed(RIGHTS, RIGHTS, COMPARE)
        tokens = (somebody.home / "tokens").read_text().splitlines()
    (line,) = tokens
    robot, project, secret = line.split()
    assert (robot, project) == ("robot$shop+ci", "shop")
    ci = Wire(new, Account("shop", secret))
    found = ci.request("GET", f"/v2/shop/web/manifests/{signature}").expect(200).json()
    anybody = Wire(new).request("GET", f"/v2/shop/web/referrers/{found['subject']['digest']}")
    assert [each["digest"] for each in anybody.expect(200).json()["manifests"]] == [signature]
    users = json.loads(new.admin("user", "list", "--json"))
    assert {each["name"] for each in users if each["admin"]} == {"admin", "user002"}
    assert {each["name"] for each in users if not each["admin"]} == {"shop", "tools"}
    listed = {each["name"]: each for each in json.loads(new.admin("repo", "list", "--json"))}
    assert [listed[name]["public"] for name in ("shop/web", "tools/build/gcc")] == [True, False]
    listed_tokens = json.loads(new.admin("token", "list", "shop", "--json"))
    (kept,) = [each for each in listed_tokens if each["name"] == "robot$shop+ci"]
    assert kept["allow"] == ["pull", "push"]


def come_over(verb: str, address: str, home: Path, **variables: str) -> tuple[int, str]:
    """Return the exit status of the script and what it says."""
    told = {"FROM": address, "TO": address, "FROM_PLAIN": "yes", "TO_PLAIN": "yes"}
    done = subprocess.run(
        ["/bin/sh", ROOT / "deploy/come-over/come-over.sh", verb],
        cwd=home,
        env={**os.environ, **told, **variables},
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    return done.returncode, done.stderr


def test_without_a_program_it_needs_nothing_seems_to_agree(tmp_path: Path) -> None:
    """`not found` is what a registry without the image says, and a shell without the program."""
    (tmp_path / "repositories").write_text("app library/app\n")
    programs = tmp_path / "bin"
    programs.mkdir()
    for path in ("/usr/bin", "/bin"):
        for each in Path(path).iterdir():
            if each.name != "skopeo" and not (programs / each.name).exists():
                (programs / each.name).symlink_to(each)
    for verb in ("copy", "compare"):
        code, said = come_over(verb, "127.0.0.1:9", tmp_path, PATH=str(programs))
        assert (code, said) == (1, "skopeo is missing: install it\n")


def test_what_leads_nowhere_is_not_the_same_on_both_sides(tmp_path: Path) -> None:
    (tmp_path / "repositories").write_text("app library/app\n")
    skopeo = tmp_path / "skopeo"
    tags, none = """echo '{"Tags": ["1"]}'""", "echo manifest unknown >&2; exit 1"
    skopeo.write_text(f"#!/bin/sh\n[ $1 = list-tags ] || {{ {none}; }}\n{tags}\n")
    skopeo.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    code, said = come_over("compare", "127.0.0.1:9", tmp_path, PATH=path)
    assert code == 0
    assert "0 tags are the same, 0 differ\n1 tags lead nowhere" in said


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_no_login_is_left_behind_when_the_terminal_goes(
    number: signal.Signals, tmp_path: Path
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        login = {"auths": {address: {"auth": b64encode(b"reader:secret").decode()}}}
        (tmp_path / "auth.json").write_text(json.dumps(login))
        told = {"FROM": address, "TO": address, "FROM_PLAIN": "yes", "TMPDIR": str(temporary)}
        listing = subprocess.Popen(
            ["/bin/sh", ROOT / "deploy/come-over/come-over.sh", "list"],
            cwd=tmp_path,
            env={**os.environ, **told},
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        with silent.accept()[0]:  # it asks, and waits
            (kept,) = temporary.glob("*/login")
            assert "secret" in kept.read_text()
            os.killpg(listing.pid, number)
            listing.wait(SECONDS_MAX)
    assert [*temporary.iterdir()] == []


def test_a_list_without_an_end_is_told(tmp_path: Path) -> None:
    """Of a registry that does not know where a page begins (`last`)."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"repositories": ["a", "b"]}')

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as registry:
        threading.Thread(target=registry.serve_forever).start()
        try:
            code, said = come_over("list", f"127.0.0.1:{registry.server_port}", tmp_path)
        finally:
            registry.shutdown()
    assert code == 1
    assert "the same page" in said
    assert not (tmp_path / "repositories").exists()

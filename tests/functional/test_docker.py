"""docker's command line and a real dockerd: log in, push, pull, run, log out."""

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.functional.docker import Docker
from tests.functional.programs import run
from tests.functional.server import Account, Server
from tests.images import Image, Layout, busybox_layer, text_layer


def test_login_with_the_password_and_with_an_access_token(
    docker: Docker, server: Server, alice: Account
) -> None:
    assert "Login Succeeded" in docker.login(server.address, alice)
    docker("logout", server.address)
    assert "Login Succeeded" in docker.login(server.address, server.add_token(alice))


@pytest.mark.parametrize("with_token", [False, True], ids=["password", "access token"])
def test_what_a_login_leaves_others_can_use(
    docker: Docker,
    server: Server,
    alice: Account,
    busybox: Image,
    tmp_path: Path,
    *,
    with_token: bool,
) -> None:
    """The file whole, as Kubernetes' imagePullSecrets have it, or its field `auth` alone."""
    account = server.add_token(alice) if with_token else alice
    docker.login(server.address, account)
    file = Path(docker.environment["DOCKER_CONFIG"]) / "config.json"
    [kept] = json.loads(file.read_text())["auths"].values()
    assert base64.b64decode(kept["auth"]).decode() == f"{account.name}:{account.password}"
    alone = tmp_path / "auth-alone.json"
    alone.write_text(json.dumps({"auths": {server.address: {"auth": kept["auth"]}}}))
    target = f"docker://{server.address}/{alice.name}/left:1"
    source = Layout(tmp_path / "source").tagged(busybox, "1")
    for auth in (file, alone):
        where = (f"--authfile={auth}", "--src-tls-verify=false", "--dest-tls-verify=false")
        run("skopeo", "copy", "--quiet", *where, source, target)
        run("skopeo", "copy", "--quiet", *where, target, f"dir:{tmp_path}/{auth.stem}")


def test_login_with_a_wrong_password_or_name_is_refused(
    docker: Docker, server: Server, alice: Account
) -> None:
    wrong = docker.login_refused(server.address, Account(alice.name, "not it"))
    unknown = docker.login_refused(server.address, Account("nobody-here", "not it"))
    assert "unauthorized" in wrong
    assert wrong == unknown  # who has an account is nobody's business


def test_a_pushed_image_is_pulled_and_runs(
    docker: Docker, server: Server, alice: Account, perl: Image, tmp_path: Path
) -> None:
    name = f"{server.address}/{alice.name}/perl:5"
    docker.load(perl, name, tmp_path / "layout")
    docker.login(server.address, alice)
    before = docker.inspect(name)
    docker("push", name)
    docker.forget_images()
    docker("pull", name)
    assert docker.inspect(name)["Id"] == before["Id"]
    assert docker.run(name) == "hello from perl\n"


def test_pull_by_digest(
    docker: Docker, server: Server, alice: Account, busybox: Image, tmp_path: Path
) -> None:
    name = f"{server.address}/{alice.name}/busybox"
    docker.load(busybox, f"{name}:1", tmp_path / "layout")
    docker.login(server.address, alice)
    pushed = docker("push", f"{name}:1")
    digest = pushed.partition("digest: ")[2].split()[0]
    docker.forget_images()
    docker("pull", f"{name}@{digest}")
    assert docker.run(f"{name}@{digest}") == "hello from busybox\n"


def test_after_logout_a_private_image_is_refused_as_if_it_were_absent(
    docker: Docker, server: Server, alice: Account, busybox: Image, tmp_path: Path
) -> None:
    name = f"{server.address}/{alice.name}/busybox:1"
    docker.load(busybox, name, tmp_path / "layout")
    docker.login(server.address, alice)
    docker("push", name)
    docker("logout", server.address)
    docker.forget_images()
    private = docker.refused("pull", name)
    absent = docker.refused("pull", name.replace("busybox", "nothing"))
    assert "denied" in private or "unauthorized" in private
    assert private.replace("busybox", "nothing") == absent


def test_another_users_namespace_is_refused_with_a_message_that_says_so(
    docker: Docker, server: Server, alice: Account, bob: Account, busybox: Image, tmp_path: Path
) -> None:
    name = f"{server.address}/{alice.name}/busybox:1"
    docker.load(busybox, name, tmp_path / "layout")
    docker.login(server.address, alice)
    docker("push", name)
    docker.login(server.address, bob)
    assert "denied" in docker.refused("push", name).lower()
    docker.forget_images()
    assert "denied" in docker.refused("pull", name).lower()


def test_a_name_without_a_user_is_refused_at_once_with_advice(
    docker: Docker, server: Server, alice: Account, busybox: Image, tmp_path: Path
) -> None:
    name = f"{server.address}/busybox:1"
    docker.load(busybox, name, tmp_path / "layout")
    docker.login(server.address, alice)
    said = docker.refused("push", name)
    assert "USERNAME/busybox" in said
    assert "Retrying" not in said


def test_a_public_image_is_pulled_by_anyone_and_pushed_by_its_owner_alone(
    docker: Docker, server: Server, alice: Account, bob: Account, busybox: Image, tmp_path: Path
) -> None:
    name = f"{server.address}/{alice.name}/busybox:1"
    docker.load(busybox, name, tmp_path / "layout")
    docker.login(server.address, alice)
    docker("push", name)
    docker("logout", server.address)
    docker.forget_images()
    server.admin("repo", "public", f"{alice.name}/busybox")
    docker("pull", name)
    assert docker.run(name) == "hello from busybox\n"
    docker.login(server.address, bob)
    docker("pull", name)
    docker.refused("push", name)


def test_a_token_that_may_only_pull_cannot_push(
    docker: Docker, server: Server, alice: Account, busybox: Image, tmp_path: Path
) -> None:
    name = f"{server.address}/{alice.name}/busybox:1"
    docker.load(busybox, name, tmp_path / "layout")
    docker.login(server.address, alice)
    docker("push", name)
    docker.login(server.address, server.add_token(alice, "--allow", "pull"))
    docker("tag", name, f"{name}-again")
    assert "denied" in docker.refused("push", f"{name}-again").lower()
    docker.forget_images()
    docker("pull", name)


def test_images_that_share_layers_are_pushed_at_once(
    docker: Docker, server: Server, alice: Account, perl: Image, tools: Image, tmp_path: Path
) -> None:
    names = [f"{server.address}/{alice.name}/{kind}:{n}" for kind in ("p", "t") for n in (1, 2)]
    for number, name in enumerate(names):
        docker.load(perl if "/p:" in name else tools, name, tmp_path / f"layout{number}")
    docker.login(server.address, alice)
    with ThreadPoolExecutor(len(names)) as pushes:
        list(pushes.map(lambda name: docker("push", name), names))
    docker.forget_images()
    with ThreadPoolExecutor(len(names)) as pulls:
        list(pulls.map(lambda name: docker("pull", name), names))
    assert docker.run(names[0]) == "hello from perl\n"
    assert docker.run(names[3]) == "hello from bash\n"


def test_a_layer_pushed_before_is_mounted_from_the_other_repository(
    docker: Docker, server: Server, alice: Account, tmp_path: Path
) -> None:
    own = text_layer(tmp_path / "own.tar", {"owner": alice.name})  # nobody pushed it before
    image = Image([busybox_layer(), own], ["/bin/busybox", "cat", "/owner"])
    first, second = (f"{server.address}/{alice.name}/{name}:1" for name in ("first", "second"))
    docker.load(image, first, tmp_path / "layout")
    docker.login(server.address, alice)
    docker("push", first)
    docker("tag", first, second)
    assert f"Mounted from {alice.name}/first" in docker("push", second)
    docker.forget_images()
    docker("pull", second)
    assert docker.run(second) == alice.name


def test_docker_builds_on_a_pulled_image_and_pushes_the_result(
    docker: Docker, server: Server, alice: Account, busybox: Image, tmp_path: Path
) -> None:
    base, built = (f"{server.address}/{alice.name}/{name}:1" for name in ("base", "built"))
    docker.load(busybox, base, tmp_path / "layout")
    docker.login(server.address, alice)
    docker("push", base)
    docker.forget_images()
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(
        f"FROM {base}\nCOPY Dockerfile /\nRUN busybox touch /made\nCMD ls /made\n"
    )
    docker("build", "--network=none", f"--tag={built}", str(context))
    docker("push", built)
    docker.forget_images()
    docker("pull", built)
    assert docker.run(built, "/bin/ls", "/made") == "/made\n"

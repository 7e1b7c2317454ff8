"""The `oras` package from PyPI: artifacts that are no images.

It sends its password with every request (Basic): its token backend keeps the first token it gets,
which is one for looking only, and so cannot push to any registry that grants what was asked
(oras-project/oras-py#187).
"""

from pathlib import Path

import oras.client
import pytest

from tests.functional.server import Account, Server


@pytest.fixture
def client(server: Server, alice: Account) -> oras.client.OrasClient:
    """Return a client that is logged in as alice."""
    client = oras.client.OrasClient(hostname=server.address, insecure=True, auth_backend="basic")
    client.login(username=alice.name, password=alice.password, hostname=server.address)
    return client


def test_an_artifact_is_pushed_and_pulled(
    client: oras.client.OrasClient,
    server: Server,
    alice: Account,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)  # it keeps to paths below where it runs
    Path("words.txt").write_text("not an image\n")
    Path("large.bin").write_bytes(bytes(range(256)) * 40_000)
    target = f"{server.address}/{alice.name}/artifact:1"
    pushed = client.push(
        target=target,
        files=["words.txt:text/plain", "large.bin:application/octet-stream"],
        manifest_annotations={"org.example.reason": "test"},
    )
    assert pushed.status_code == 201
    client.pull(target=target, outdir=str(tmp_path / "back"))
    for name in ("words.txt", "large.bin"):
        assert (tmp_path / "back" / name).read_bytes() == Path(name).read_bytes()
    assert client.get_tags(f"{server.address}/{alice.name}/artifact") == ["1"]
    assert client.get_manifest(target)["annotations"]["org.example.reason"] == "test"

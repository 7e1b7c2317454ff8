"""skopeo: multi-arch indexes, lists, recompression, deletion, copies between repositories."""

import json
from pathlib import Path

import pytest

from tests import images
from tests.functional.server import Account, Server
from tests.functional.skopeo import Skopeo
from tests.images import Image, Layout


@pytest.fixture
def multi_arch(perl: Image, tmp_path: Path) -> str:
    """Return a layout with an index of two platforms that share a layer."""
    data = images.debian_layer("data", images.DATA)
    layout = Layout(tmp_path / "multi")
    ours = Image([data, *perl.layers], perl.command)
    theirs = Image([data, images.busybox_layer()], ["sh"], architecture="arm64")
    return layout.tag(layout.index([ours, theirs]), "1")


@pytest.fixture
def source(busybox: Image, tmp_path: Path) -> str:
    """Return a layout with an image of one platform."""
    return Layout(tmp_path / "source").tagged(busybox, "1")


def test_a_multi_arch_index_is_copied_whole_and_comes_back_the_same(
    skopeo: Skopeo, alice: Account, multi_arch: str, tmp_path: Path
) -> None:
    name = skopeo.at(f"{alice.name}/multi:1")
    skopeo.copy(multi_arch, name, "--all")
    index = skopeo.inspect_raw(f"{alice.name}/multi:1")
    platforms = [child["platform"]["architecture"] for child in index["manifests"]]
    assert platforms == ["amd64", "arm64"]
    skopeo.copy(name, f"dir:{tmp_path}/back", "--all")
    assert json.loads((tmp_path / "back" / "manifest.json").read_text()) == index
    for child in index["manifests"]:
        assert skopeo.inspect_raw(f"{alice.name}/multi@{child['digest']}")["layers"]


def test_one_platform_is_chosen_from_an_index(
    skopeo: Skopeo, alice: Account, multi_arch: str, tmp_path: Path
) -> None:
    name = skopeo.at(f"{alice.name}/multi:1")
    skopeo.copy(multi_arch, name, "--all")
    skopeo.copy(name, f"oci:{tmp_path}/arm:1", "--override-arch=arm64")
    layers = json.loads((tmp_path / "arm" / "index.json").read_text())["manifests"]
    assert len(layers) == 1


def test_list_tags(skopeo: Skopeo, alice: Account, source: str) -> None:
    for tag in ("2", "1", "latest", "Beta"):
        skopeo.copy(source, skopeo.at(f"{alice.name}/app:{tag}"))
    assert sorted(skopeo.tags(f"{alice.name}/app")) == ["1", "2", "Beta", "latest"]
    assert skopeo.inspect(f"{alice.name}/app:1")["Architecture"] == "amd64"


def test_delete_removes_an_image_and_all_its_tags(
    skopeo: Skopeo, alice: Account, source: str, multi_arch: str
) -> None:
    skopeo.copy(source, skopeo.at(f"{alice.name}/app:1"))
    skopeo.copy(source, skopeo.at(f"{alice.name}/app:same"))
    skopeo.copy(multi_arch, skopeo.at(f"{alice.name}/app:other"), "--all")
    skopeo.delete(f"{alice.name}/app:1")
    assert list(skopeo.tags(f"{alice.name}/app")) == ["other"]
    skopeo.copy(source, skopeo.at(f"{alice.name}/app:1"))
    assert sorted(skopeo.tags(f"{alice.name}/app")) == ["1", "other"]


def test_a_token_for_pushing_does_not_delete(
    skopeo: Skopeo, server: Server, alice: Account, source: str, tmp_path: Path
) -> None:
    pusher = tmp_path / "pusher"
    pusher.mkdir()
    limited = Skopeo(server, server.add_token(alice, "--allow", "pull,push"), pusher)
    limited.copy(source, limited.at(f"{alice.name}/app:1"))
    limited.delete_refused(f"{alice.name}/app:1")
    assert list(skopeo.tags(f"{alice.name}/app")) == ["1"]


def test_layers_recompressed_as_zstd(
    skopeo: Skopeo, alice: Account, perl: Image, tmp_path: Path
) -> None:
    uncompressed = Layout(tmp_path / "plain").tagged(perl.uncompressed(), "1")
    name = skopeo.at(f"{alice.name}/perl:zstd")
    skopeo.copy(uncompressed, name, "--dest-compress-format=zstd")
    layers = skopeo.inspect_raw(f"{alice.name}/perl:zstd")["layers"]
    assert {layer["mediaType"] for layer in layers} == {images.LAYER_ZSTD}
    skopeo.copy(name, f"dir:{tmp_path}/back", "--dest-decompress")
    back = json.loads((tmp_path / "back" / "manifest.json").read_text())["layers"]
    assert [layer["digest"] for layer in back] == [layer.diff_id for layer in perl.layers]


def test_sync_copies_every_tag(skopeo: Skopeo, alice: Account, source: str, tmp_path: Path) -> None:
    for tag in ("1", "2"):
        skopeo.copy(source, skopeo.at(f"{alice.name}/app:{tag}"))
    skopeo.sync(f"{alice.name}/app", tmp_path / "mirror")
    found = sorted(path.parent.name for path in (tmp_path / "mirror").rglob("manifest.json"))
    assert found == ["app:1", "app:2"]


def test_a_copy_between_repositories_keeps_the_digest(
    skopeo: Skopeo, alice: Account, source: str
) -> None:
    skopeo.copy(source, skopeo.at(f"{alice.name}/from:1"))
    skopeo.copy(skopeo.at(f"{alice.name}/from:1"), skopeo.at(f"{alice.name}/a/b/c:1"))
    digests = {skopeo.inspect(f"{alice.name}/{name}:1")["Digest"] for name in ("from", "a/b/c")}
    assert len(digests) == 1


def test_nobody_pushes_without_logging_in(
    server: Server, alice: Account, source: str, tmp_path: Path
) -> None:
    home = tmp_path / "anonymous"
    home.mkdir()
    anonymous = Skopeo(server, None, home)
    said = anonymous.copy_refused(source, anonymous.at(f"{alice.name}/app:1"))
    assert "unauthorized" in said or "denied" in said

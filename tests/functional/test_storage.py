"""What lies on the disks: every layer as chunks, each named by its BLAKE3, stored once."""

import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from tests import images
from tests.functional.conftest import Serve
from tests.functional.server import Options, Server
from tests.functional.wire import Wire
from tests.images import CONFIG, LAYER_TAR, MANIFEST, Layer, sha256_of


def chunk_files(disk: Path) -> list[Path]:
    return [path for path in (disk / "chunks").rglob("*") if path.is_file()]


def push_image(wire: Wire, name: str, tag: str, layer: Layer) -> None:
    """Push an image of one uncompressed layer, as builders for fast deduplication do."""
    content = layer.path.read_bytes()
    config = json.dumps({"rootfs": {"type": "layers", "diff_ids": [sha256_of(content)]}}).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(wire.push_blob(name, config), CONFIG, config),
        "layers": [descriptor(wire.push_blob(name, content), LAYER_TAR, content)],
    }
    wire.push_manifest(name, tag, manifest)


def descriptor(digest: str, media_type: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": len(content)}


def test_layers_lie_as_chunks_under_their_names_on_every_disk(serve: Serve) -> None:
    server = serve(Options(disks=3))
    wire = Wire(server, server.add_user("erin"))
    layer = images.debian_layer("shell", images.SHELL)
    push_image(wire, "erin/shell", "1", layer)
    held = Counter[str]()
    for disk in server.disks:
        assert (disk / "store.json").exists()
        for path in chunk_files(disk):
            data = path.read_bytes()
            name = blake3(data).hexdigest()
            assert path.relative_to(disk / "chunks") == Path(name[:2], name[2:4], name)
            assert len(data) <= 4 * 1024 * 1024
            held[disk.name] += len(data)
    assert len(held) == 3, held
    assert sum(held.values()) == layer.path.stat().st_size
    assert min(held.values()) > sum(held.values()) / 10, held


def test_a_rebuilt_image_costs_little_more_and_the_commands_say_so(
    serve: Serve, tmp_path: Path
) -> None:
    server = serve(Options())
    wire = Wire(server, server.add_user("erin"))
    layer = images.debian_layer("shell", images.SHELL)
    rebuilt = images.changed(layer, tmp_path / "rebuilt.tar", {"etc/build": "number two\n"})
    push_image(wire, "erin/shell", "1", layer)
    push_image(wire, "erin/shell", "2", rebuilt)
    one = layer.path.stat().st_size
    stored = sum(path.stat().st_size for path in chunk_files(server.disks[0]))
    assert one <= stored < one * 1.3
    repository = json.loads(server.admin("repo", "show", "erin/shell", "--json"))
    assert saved(repository) > one / 2, repository
    cluster = json.loads(server.admin("cluster", "status", "--json"))
    assert saved(cluster) > one / 2, cluster


def saved(shown: dict[str, Any]) -> int:
    """Return what deduplication saved, in bytes, as a command tells it."""
    return int(shown["deduplication_saved_bytes"])


def test_a_disk_that_is_not_the_one_it_was_is_not_used(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(Options(disks=2))
    assert server.stop() == 0
    (server.disks[1] / "store.json").unlink()
    server.start()
    assert "MISSING" in server.program.log_end(), "it is told before anything is served"
    assert "store.json" in server.program.log_end()
    assert server.stop() == 0
    monkeypatch.setenv("TREESCALE_REQUIRE_ALL_STORES", "true")
    again = subprocess.run(
        server.program.argv, capture_output=True, text=True, timeout=60, check=False
    )
    assert again.returncode != 0
    assert "store.json" in again.stderr


def test_blobs_of_two_users_are_stored_once(serve: Serve) -> None:
    server = serve(Options())
    content = images.debian_layer("perl", images.PERL).path.read_bytes()
    for name in ("erin", "frank"):
        Wire(server, server.add_user(name)).push_blob(f"{name}/app", content)
    assert stored_bytes(server) == len(content)


def stored_bytes(server: Server) -> int:
    return sum(path.stat().st_size for disk in server.disks for path in chunk_files(disk))

"""Equal servers behind haproxy: an image copied by skopeo, and a layer read in parallel ranges.

Each server is a gateway and a store at once, so its wire carries what its clients read and what
the other servers ask of it: with three copies on four servers, a quarter of all chunks passes two
wires.
"""

import gzip
import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from bench.network.site import as_target, site
from bench.processes import at_once
from bench.rounds import Targets
from bench.rows import Effort, Row, at_least
from bench.wire import Connection, Target, framed, push, read_verified, token_for
from tests.functional.server import Account
from tests.functional.skopeo import Skopeo
from tests.images import CONFIG, LAYER_GZIP, MANIFEST, Layout

COPY: Final = "skopeo copy, 4 layers, 4 servers behind haproxy"
RANGES: Final = "8 ranges that hang up, 4 servers behind haproxy"
SERVERS: Final = 4
LAYERS: Final = 4
READERS: Final = 8


@dataclass(frozen=True, slots=True)
class Image:
    """An image of random layers, together as long as a large layer; the same in all rounds.

    They are gzip streams that store their bytes as they are: skopeo would compress others.

    No gateway here keeps what it has read of others, so there is nothing that a second reading
    finds warmer than the first.
    """

    source: str
    size: int
    home: Path

    def skopeo(self, target: Target) -> Skopeo:
        """Return skopeo as a user of the registry."""
        account = Account(target.user, target.password) if target.user else None
        home = self.home / target.name
        home.mkdir(exist_ok=True)
        return Skopeo(target, account, home)

    def push(self, target: Target) -> None:
        """Bring it there."""
        skopeo = self.skopeo(target)
        skopeo.copy(self.source, skopeo.at(f"{target.repository}:image"))

    def copy(self, target: Target, _: int) -> Mapping[str, float]:
        """Copy it into a layout, whose layers skopeo fetches at once; it verifies each."""
        skopeo, copied = self.skopeo(target), self.home / "copied"
        began = time.perf_counter()
        skopeo.copy(skopeo.at(f"{target.repository}:image"), f"oci:{copied}")
        seconds = time.perf_counter() - began
        shutil.rmtree(copied)
        return {COPY: self.size / seconds / 1e6}


@dataclass(frozen=True, slots=True)
class Shared:
    """A layer, and the SHA-256 of each reader's share of it."""

    digest: str
    size: int
    shares: Mapping[int, tuple[slice, str]]

    def read(self, target: Target, _: int) -> Mapping[str, float]:
        """Read all shares at once: ask to the end, take the share, hang up (as containerd does)."""
        token = token_for(target)
        work = [
            partial(read_verified, target, token, self.digest, part, sha256)
            for part, sha256 in self.shares.values()
        ]
        return {RANGES: self.size / at_once(work) / 1e6}


def measure(root: Path, effort: Effort) -> list[Row]:
    """Measure both."""
    size = effort.layer_bytes
    with (
        site(root, effort) as here,
        here.cluster(SERVERS, copies=3) as cluster,
        here.peer() as peer,
        here.balanced(as_target(cluster.nodes[0], cluster), peer, cluster) as targets,
    ):
        image = _image(root / "image", size)
        shared = _shared(size, targets)
        for target in targets.all:
            image.push(target)
        figures = targets.measure(effort.rounds, [image.copy, shared.read])
    return [figures.row(name, "MB/s", at_least(2.5), 1) for name in (COPY, RANGES)]


def _image(home: Path, size: int) -> Image:
    home.mkdir()
    layout = Layout(home / "layout")
    data = [gzip.compress(os.urandom(size // LAYERS), compresslevel=0) for _ in range(LAYERS)]
    parts = [layout.blob(layer, LAYER_GZIP) for layer in data]
    empty = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": layout.blob(json.dumps(empty).encode(), CONFIG),
        "layers": parts,
    }
    source = layout.tag(layout.blob(json.dumps(manifest).encode(), MANIFEST), "image")
    return Image(source, sum(map(len, data)), home)


def _shared(size: int, targets: Targets) -> Shared:
    data = os.urandom(size)
    digest, body = f"sha256:{hashlib.sha256(data).hexdigest()}", framed(data)
    for target in targets.all:
        with Connection(target, token_for(target)) as connection:
            push(connection, target, digest, body)
    share = -(-size // READERS)
    parts = [slice(at, min(at + share, size)) for at in range(0, size, share)]
    shares = {part.start: (part, hashlib.sha256(data[part]).hexdigest()) for part in parts}
    return Shared(digest, size, shares)

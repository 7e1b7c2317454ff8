"""Tiny images: a configuration and a layer of 1 KiB each, pushed by four clients at once.

Every image is new, so each costs what a build server's pushes cost: two blobs and a manifest, nine
requests on a connection that stays open.
"""

import json
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

from bench.processes import at_once
from bench.registries import NAMED
from bench.rounds import side_by_side
from bench.rows import Effort, Row, at_least
from bench.wire import Connection, Target, framed, push, sha256, token_for

CLIENTS: Final = 4
IMAGES: Final = 240
"""In a round, of all clients together: four counted rounds push about 1,000."""
LAYER_BYTES: Final = 1024
CONFIG_TYPE: Final = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE: Final = "application/vnd.oci.image.layer.v1.tar"
MANIFEST_TYPE: Final = "application/vnd.oci.image.manifest.v1+json"


def measure(root: Path, effort: Effort) -> list[Row]:
    """Measure images pushed a second."""
    each = effort.of(IMAGES // CLIENTS)
    name = f"push tiny images, {CLIENTS} clients at once"

    def push_all(target: Target, _: int) -> Mapping[str, float]:
        token = token_for(target)
        seconds = at_once([partial(push_images, target, token, each) for _ in range(CLIENTS)])
        return {name: CLIENTS * each / seconds}

    with side_by_side(root, "tiny", effort) as targets:
        figures = targets.measure(effort.rounds, [push_all])
    return [figures.row(name, "images/s", at_least(1.0, NAMED))]


def push_images(target: Target, token: str, images: int) -> None:
    """Push so many new tiny images, each with a tag of its own, on one connection."""
    with Connection(target, token) as connection:
        for _ in range(images):
            push_image(connection, target, os.urandom(8).hex())


def push_image(connection: Connection, target: Target, tag: str) -> bytes:
    """Push a new tiny image; return its manifest."""
    config = json.dumps({"created by": os.urandom(16).hex()}).encode()
    layer = os.urandom(LAYER_BYTES)
    for data in (layer, config):
        push(connection, target, sha256(data), framed(data))
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": _descriptor(CONFIG_TYPE, config),
            "layers": [_descriptor(LAYER_TYPE, layer)],
        }
    ).encode()
    headers = f"Content-Type: {MANIFEST_TYPE}\r\nContent-Length: {len(manifest)}\r\n"
    path = f"/v2/{target.repository}/manifests/{tag}"
    connection.expect(201, "PUT", path, headers, manifest)
    return manifest


def _descriptor(media_type: str, data: bytes) -> dict[str, str | int]:
    return {"mediaType": media_type, "digest": sha256(data), "size": len(data)}

"""What clients do to a registry, step by step, and what must be so after it was cut short.

An operation is an effect that is acknowledged, or not. `act` makes it by requests, and may be begun
again from its start; `check` says what a reader may find: after an acknowledgement the new state
alone, before one the old or the new, never a mixture, never an error of ours.
"""

import http.client
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from tests import images
from tests.functional.wire import Answer, Wire
from tests.images import CONFIG, LAYER_TAR, MANIFEST, sha256_of

REPOSITORY: Final = "admin/app"
OTHER: Final = "admin/other"
KIB: Final = 1024
LAYER: Final = images.noise(900 * KIB)
"""More than one chunk, so that some are stored before the last bytes arrive."""
BASE_LAYER: Final = images.noise(300 * KIB)
SMALL: Final = b"small enough for the database"
DEATHS: Final = (ConnectionError, http.client.HTTPException, TimeoutError)
"""What a client sees of a server that died."""


@dataclass(frozen=True)
class Operation:
    """An effect, how to make it, and how to look for it."""

    name: str
    act: Callable[[Wire], None]
    check: Callable[[Wire, bool], None]
    digests: tuple[str, ...] = ()
    """The blobs it makes: each must have one row in the end."""


def manifest_of(config: bytes, layer: bytes) -> bytes:
    """Return an image manifest's bytes."""
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": sha256_of(config), "size": len(config)},
            "layers": [
                {"mediaType": LAYER_TAR, "digest": sha256_of(layer), "size": len(layer)},
            ],
        }
    ).encode()


BASE_CONFIG: Final = b'{"the": "base"}'
NEXT_CONFIG: Final = b'{"the": "next"}'
BASE: Final = manifest_of(BASE_CONFIG, BASE_LAYER)
NEXT: Final = manifest_of(NEXT_CONFIG, BASE_LAYER)


def put_manifest(wire: Wire, reference: str, manifest: bytes) -> Answer:
    """Push a manifest's bytes."""
    path = f"/v2/{REPOSITORY}/manifests/{reference}"
    return wire.request("PUT", path, manifest, {"Content-Type": MANIFEST})


def push_base(wire: Wire) -> None:
    """Push what every operation finds there and must leave alone."""
    for data in (BASE_CONFIG, NEXT_CONFIG, BASE_LAYER):
        wire.push_blob(REPOSITORY, data)
    for tag in ("base", "moving", "leaving"):
        put_manifest(wire, tag, BASE).expect(201)


def check_base(wire: Wire) -> None:
    """Fail unless all that was acknowledged before is there, byte for byte."""
    assert manifest(wire, "base").expect(200).body == BASE
    for data in (BASE_CONFIG, BASE_LAYER):
        assert wire.pull_blob(REPOSITORY, sha256_of(data)) == data


def manifest(wire: Wire, reference: str) -> Answer:
    """Ask for a manifest."""
    return wire.request(
        "GET", f"/v2/{REPOSITORY}/manifests/{reference}", headers={"Accept": MANIFEST}
    )


def tags(wire: Wire) -> list[str]:
    """Return the tags that are listed."""
    body: Any = wire.request("GET", f"/v2/{REPOSITORY}/tags/list").expect(200).json()
    names: list[str] = body["tags"]
    return names


def _blob(repository: str, data: bytes) -> Callable[[Wire, bool], None]:
    def check(wire: Wire, acknowledged: bool) -> None:  # noqa: FBT001
        digest = sha256_of(data)
        answer = wire.request("GET", f"/v2/{repository}/blobs/{digest}")
        assert answer.status in ({200} if acknowledged else {200, 404}), answer
        assert answer.status == 404 or answer.body == data

    return check


def _push_streamed(wire: Wire) -> None:
    """POST, two PATCHes, PUT: as dockerd does, in two parts."""
    half = len(LAYER) // 2
    place = wire.begin_upload(REPOSITORY)
    place = wire.request("PATCH", place, LAYER[:half]).expect(202).location
    status = wire.request("GET", place).expect(204)
    assert status.headers["Range"] == f"0-{half - 1}"
    place = wire.request("PATCH", place, LAYER[half:]).expect(202).location
    wire.finish_upload(place, sha256_of(LAYER)).expect(201)


def _push_whole(wire: Wire) -> None:
    path = f"/v2/{REPOSITORY}/blobs/uploads/?digest={sha256_of(LAYER)}"
    wire.request("POST", path, LAYER).expect(201)


def _push_small(wire: Wire) -> None:
    wire.push_blob(REPOSITORY, SMALL)


def _mount(wire: Wire) -> None:
    digest = sha256_of(BASE_LAYER)
    path = f"/v2/{OTHER}/blobs/uploads/?mount={digest}&from={REPOSITORY}"
    wire.request("POST", path, also=f"repository:{REPOSITORY}:pull").expect(201)


def _put_new_tag(wire: Wire) -> None:
    put_manifest(wire, "new", NEXT).expect(201)


def _check_new_tag(wire: Wire, acknowledged: bool) -> None:  # noqa: FBT001
    answer = manifest(wire, "new")
    assert answer.status in ({200} if acknowledged else {200, 404}), answer
    assert ("new" in tags(wire)) == (answer.status == 200)
    assert manifest(wire, sha256_of(NEXT)).status == answer.status
    assert answer.status == 404 or answer.body == NEXT


def _move_tag(wire: Wire) -> None:
    put_manifest(wire, "moving", NEXT).expect(201)


def _check_moved_tag(wire: Wire, acknowledged: bool) -> None:  # noqa: FBT001
    body = manifest(wire, "moving").expect(200).body
    assert body in ({NEXT} if acknowledged else {BASE, NEXT})


def _gone(wire: Wire, path: str) -> None:
    """Delete; what an earlier attempt deleted is gone all the same."""
    answer = wire.request("DELETE", path)
    assert answer.status in {202, 404}, answer


def _delete_tag(wire: Wire) -> None:
    _gone(wire, f"/v2/{REPOSITORY}/manifests/leaving")


def _check_deleted_tag(wire: Wire, acknowledged: bool) -> None:  # noqa: FBT001
    answer = manifest(wire, "leaving")
    assert answer.status in ({404} if acknowledged else {200, 404}), answer
    assert ("leaving" in tags(wire)) == (answer.status == 200)


def _delete_manifest(wire: Wire) -> None:
    put_manifest(wire, "new", NEXT).expect(201)
    _gone(wire, f"/v2/{REPOSITORY}/manifests/{sha256_of(NEXT)}")


def _check_deleted_manifest(wire: Wire, acknowledged: bool) -> None:  # noqa: FBT001
    answer = manifest(wire, sha256_of(NEXT))
    assert answer.status in ({404} if acknowledged else {200, 404}), answer
    assert manifest(wire, "new").status == answer.status, "a tag goes with its manifest"
    assert ("new" in tags(wire)) == (answer.status == 200)


def _delete_blob(wire: Wire) -> None:
    _gone(wire, f"/v2/{REPOSITORY}/blobs/{sha256_of(NEXT_CONFIG)}")


def _check_deleted_blob(wire: Wire, acknowledged: bool) -> None:  # noqa: FBT001
    answer = wire.request("GET", f"/v2/{REPOSITORY}/blobs/{sha256_of(NEXT_CONFIG)}")
    assert answer.status in ({404} if acknowledged else {200, 404}), answer


_LAYER_DIGEST: Final = (sha256_of(LAYER),)
OPERATIONS: Final = (
    Operation("POST, PATCH, PUT", _push_streamed, _blob(REPOSITORY, LAYER), _LAYER_DIGEST),
    Operation("POST whole", _push_whole, _blob(REPOSITORY, LAYER), _LAYER_DIGEST),
    Operation("PUT small", _push_small, _blob(REPOSITORY, SMALL), (sha256_of(SMALL),)),
    Operation("mount", _mount, _blob(OTHER, BASE_LAYER), (sha256_of(BASE_LAYER),)),
    Operation("manifest PUT", _put_new_tag, _check_new_tag),
    Operation("tag moved", _move_tag, _check_moved_tag),
    Operation("tag DELETE", _delete_tag, _check_deleted_tag),
    Operation("manifest DELETE", _delete_manifest, _check_deleted_manifest),
    Operation("blob DELETE", _delete_blob, _check_deleted_blob),
)

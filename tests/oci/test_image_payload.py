"""What the event of a pushed image says of it."""

from dataclasses import replace

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tests.contracts.metadata_values import INDEX_TYPE, digest
from treescale.events.nats.subjects import MESSAGE_BYTES_MIN
from treescale.metadata.records import Manifest
from treescale.oci.image_payload import PARTS_MAX, WORD_CHARACTERS_MAX, image_payload
from treescale.oci.manifests import Reference, ReferenceKind

IMAGE_TYPE = "application/vnd.oci.image.manifest.v1+json"


def made(payload: bytes, media_type: str = INDEX_TYPE) -> Manifest:
    return Manifest(digest(1), media_type, payload)


def test_an_image_with_its_layers() -> None:
    references = [
        Reference(digest(2), ReferenceKind.BLOB, required=True, size=100),
        Reference(digest(3), ReferenceKind.BLOB, required=False, size=None),
        Reference(digest(4), ReferenceKind.MANIFEST, required=False, size=7),
    ]
    told = image_payload(made(b"{}", IMAGE_TYPE), references)
    assert told == {"media_type": IMAGE_TYPE, "size": 2, "image_size": 102}


def test_an_index_with_its_platforms() -> None:
    index = {
        "manifests": [
            {
                "digest": digest(2),
                "size": 5,
                "platform": {"os": "linux", "architecture": "arm", "variant": "v7"},
            },
            {
                "digest": digest(3),
                "size": 6,
                "platform": {"os": "linux", "architecture": "amd64"},
            },
            {
                "digest": digest(4),
                "size": 7,
                "platform": {"os": "unknown", "architecture": "unknown"},
            },
            {"digest": digest(5), "size": 8},
        ]
    }
    told = image_payload(made(msgspec.json.encode(index)), [])
    assert told["platforms"] == ["linux/amd64", "linux/arm/v7"]
    assert told["manifests"] == [
        {"digest": digest(2), "size": 5, "platform": "linux/arm/v7"},
        {"digest": digest(3), "size": 6, "platform": "linux/amd64"},
        {"digest": digest(4), "size": 7},
        {"digest": digest(5), "size": 8},
    ]


def test_a_large_index_is_told_of_in_part() -> None:
    index = {"manifests": [{"digest": digest(2), "size": 1}] * (PARTS_MAX + 9)}
    told = image_payload(made(msgspec.json.encode(index)), [])
    assert len(told["manifests"]) == PARTS_MAX  # type: ignore[arg-type]


def test_no_event_is_larger_than_what_its_readers_take() -> None:
    """What a pusher writes at length is left out: each follower and webhook would have it too."""
    for word in ("x" * 100_000, "\x01" * 32, '"' * WORD_CHARACTERS_MAX):
        part = {
            "digest": "sha512:" + "a" * 128,
            "size": 2**63 - 1,
            "platform": {"os": word, "architecture": word, "variant": word},
        }
        index = msgspec.json.encode({"manifests": [part] * PARTS_MAX})
        manifest = replace(made(index), artifact_type=f"application/{word}", subject=digest(9))
        told = image_payload(manifest, [])
        assert len(told["manifests"]) == PARTS_MAX  # type: ignore[arg-type]
        assert len(msgspec.json.encode(told)) < MESSAGE_BYTES_MIN / 2


@given(st.binary(max_size=60))
def test_whatever_was_kept_is_told_of(payload: bytes) -> None:
    assert image_payload(made(payload), [])["size"] == len(payload)


def test_what_cannot_be_read_has_nothing_inside() -> None:
    for payload in (b"", b"[]", b'{"manifests": 1}', b"[" * 10_000, b'{"manifests": [{}]}', b"{}"):
        assert image_payload(made(payload), []) == {
            "media_type": INDEX_TYPE,
            "size": len(payload),
        }

"""Any bytes give a value or an error of our tree: the parsers of what strangers send."""

import json
from collections.abc import Callable
from functools import partial

from hypothesis import example, given
from hypothesis import strategies as st

from tests.fuzz.budget import parser
from tests.oci.documents import OCI_INDEX, OCI_MANIFEST, descriptor, image, index
from treescale.errors import Refused
from treescale.oci.conditions import parse_condition
from treescale.oci.digest import parse_digest
from treescale.oci.manifests import parse_manifest
from treescale.oci.names import check_namespace, check_repository, check_tag
from treescale.oci.pages import link_header, parse_last, parse_page_size
from treescale.oci.paths import parse_path
from treescale.oci.query import query_values
from treescale.oci.ranges import parse_content_range, parse_range
from treescale.oci.upload import chunk_announced

TEXT = st.text(st.characters())  # lone surrogates too
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | TEXT
    | st.sampled_from(["sha256:" + "a" * 64, OCI_MANIFEST, OCI_INDEX, "", "\0"])
)
KEYS = st.sampled_from(
    [
        "schemaVersion",
        "mediaType",
        "config",
        "layers",
        "manifests",
        "subject",
        "annotations",
        "artifactType",
        "blobs",
        "digest",
        "size",
        "urls",
        "Digest",
        "fsLayers",
        "x",
    ]
)
JUNK = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | TEXT, inner, max_size=5),
    max_leaves=25,
)
GOOD = image(descriptor(b"layer"), subject=descriptor(b"s"), annotations={"a": "b"})


def value_or_refusal(parse: Callable[[], object]) -> None:
    try:
        parse()
    except Refused as refusal:
        str(refusal).encode()  # it goes into an answer's JSON


@parser(300)
@given(st.binary(), st.none() | TEXT)
@example(b"\xff\xfe{\0}\0", None)
@example(b"[" * 100_000, OCI_MANIFEST)
def test_any_bytes_as_manifest(payload: bytes, content_type: str | None) -> None:
    value_or_refusal(lambda: parse_manifest(payload, content_type))


@parser(500)
@given(JUNK, st.none() | st.sampled_from([OCI_MANIFEST, OCI_INDEX, "application/json"]))
def test_any_json_as_manifest(document: object, content_type: str | None) -> None:
    payload = json.dumps(document).encode()
    value_or_refusal(lambda: parse_manifest(payload, content_type))


@parser(500)
@given(st.sampled_from([GOOD, index(descriptor(b"m", OCI_MANIFEST))]), KEYS, JUNK, st.booleans())
def test_a_good_manifest_with_one_thing_changed(
    document: dict[str, object],
    key: str,
    value: object,
    inside: bool,  # noqa: FBT001
) -> None:
    config = {**descriptor(b"c"), key: value}
    changed = {**document, "config": config} if inside else {**document, key: value}
    payload = json.dumps(changed).encode()
    value_or_refusal(lambda: parse_manifest(payload, None))


@parser(500)
@given(st.integers(0, 600), st.binary(min_size=1, max_size=3))
def test_a_good_manifest_with_some_bytes_changed(place: int, change: bytes) -> None:
    payload = bytearray(json.dumps(GOOD).encode())
    payload[place : place + len(change)] = change
    value_or_refusal(lambda: parse_manifest(bytes(payload), None))


@parser()
@given(TEXT | st.text(st.sampled_from("bytes=0123456789-, \t*/")), st.integers(0, 2**63))
def test_any_text_as_range(text: str, size: int) -> None:
    value_or_refusal(lambda: parse_range(text, size))
    value_or_refusal(lambda: parse_range("bytes=" + text, size))
    value_or_refusal(lambda: parse_content_range(text))
    value_or_refusal(lambda: chunk_announced(text, size))
    value_or_refusal(lambda: parse_condition([text], [f'"{text}"']))
    value_or_refusal(lambda: query_values(f"x={text}", "x"))


@parser()
@given(TEXT | st.text(st.sampled_from("ab/.:%0123456789AFaf_-\0\n")))
def test_any_text_as_path_or_name(text: str) -> None:
    for prefix in ("", "/v2/", "/v2/a/b/manifests/", "/v2/a/b/blobs/", "/v2/a/b/blobs/uploads/"):
        value_or_refusal(partial(parse_path, prefix + text))
    checks: tuple[Callable[[str], object], ...] = (
        check_repository,
        check_namespace,
        check_tag,
        parse_digest,
    )
    for check in checks:
        value_or_refusal(partial(check, text))


@parser()
@given(st.lists(TEXT | st.integers().map(str), max_size=3))
def test_any_text_as_page(values: list[str]) -> None:
    value_or_refusal(lambda: parse_page_size(values))
    value_or_refusal(lambda: link_header("/v2/a/b/tags/list", 1, parse_last(values)))

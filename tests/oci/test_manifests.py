"""What is read out of a manifest, and which documents are refused."""

import json
from typing import Any

import pytest

from tests.oci.documents import (
    DOCKER_CONFIG,
    DOCKER_FOREIGN,
    DOCKER_LAYER,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_ARTIFACT,
    OCI_CONFIG,
    OCI_EMPTY,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Document,
    descriptor,
    digest,
    encoded,
    image,
    index,
)
from tests.tables import each_row
from treescale.errors import ManifestInvalid, TooLarge
from treescale.oci.manifests import (
    MANIFEST_BYTES_MAX,
    ParsedManifest,
    Reference,
    ReferenceKind,
    parse_manifest,
)


def parse(document: Document, content_type: str | None = None) -> ParsedManifest:
    return parse_manifest(encoded(document), content_type)


def blob(data: bytes, *, required: bool = True) -> Reference:
    return Reference(digest(data), ReferenceKind.BLOB, required=required)


def child(data: bytes) -> Reference:
    return Reference(digest(data), ReferenceKind.MANIFEST, required=False)


def without(document: Document, key: str) -> Document:
    return {k: v for k, v in document.items() if k != key}


class TestReferences:
    def test_config_and_layers_are_required_blobs_in_their_order(self) -> None:
        parsed = parse(
            image(descriptor(b"one"), descriptor(b"two"), config=descriptor(b"c")), OCI_MANIFEST
        )
        assert parsed.references == (blob(b"c"), blob(b"one"), blob(b"two"))
        assert parsed.media_type == OCI_MANIFEST

    def test_a_layer_used_a_hundred_times_is_one_reference(self) -> None:
        parsed = parse(image(*[descriptor(b"same")] * 100))
        assert parsed.references == (blob(b"{}"), blob(b"same"))

    def test_docker_images_read_alike(self) -> None:
        document = image(
            descriptor(b"one", DOCKER_LAYER),
            mediaType=DOCKER_MANIFEST,
            config=descriptor(b"c", DOCKER_CONFIG),
        )
        parsed = parse(document, DOCKER_MANIFEST)
        assert parsed.media_type == DOCKER_MANIFEST
        assert parsed.references == (blob(b"c"), blob(b"one"))

    @pytest.mark.parametrize(
        "foreign",
        [
            descriptor(b"far", "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"),
            descriptor(b"far", DOCKER_FOREIGN),
            descriptor(b"far", OCI_LAYER, urls=["https://example.com/layer"]),
        ],
    )
    def test_foreign_layers_need_not_have_been_pushed(self, foreign: Document) -> None:
        assert parse(image(foreign)).references[1] == blob(b"far", required=False)

    def test_an_empty_list_of_urls_makes_no_layer_foreign(self) -> None:
        assert parse(image(descriptor(b"near", urls=[]))).references[1] == blob(b"near")

    def test_a_layer_that_is_foreign_once_and_needed_once_is_needed(self) -> None:
        far, near = descriptor(b"x", urls=["https://example.com"]), descriptor(b"x")
        for layers in ((far, near), (near, far)):
            assert parse(image(*layers)).references[1:] == (blob(b"x"),)

    @pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_LIST])
    def test_children_of_an_index_may_be_missing(self, media_type: str) -> None:
        children = [
            descriptor(b"amd64", OCI_MANIFEST),
            descriptor(b"old", DOCKER_MANIFEST),
            descriptor(b"nested", OCI_INDEX),
            descriptor(b"nested-docker", DOCKER_LIST),
        ]
        parsed = parse(index(*children, mediaType=media_type), media_type)
        assert parsed.references == (
            child(b"amd64"),
            child(b"old"),
            child(b"nested"),
            child(b"nested-docker"),
        )

    def test_a_buildkit_cache_index_refers_to_blobs(self) -> None:
        cache = "application/vnd.buildkit.cacheconfig.v0"
        parsed = parse(index(descriptor(b"layer"), descriptor(b"cache", cache)))
        assert parsed.references == (blob(b"layer"), blob(b"cache"))

    @pytest.mark.parametrize("empty", [{"layers": []}, {"layers": None}])
    def test_an_image_may_have_no_layers(self, empty: Document) -> None:
        assert parse(image(**empty)).references == (blob(b"{}"),)

    def test_an_artifact_may_leave_layers_out(self) -> None:
        document = without(image(artifactType="application/x.sbom"), "layers")
        parsed = parse(document, OCI_MANIFEST)
        assert parsed.references == (blob(b"{}"),)
        assert parsed.artifact_type == "application/x.sbom"

    @pytest.mark.parametrize("manifests", [[], None])
    def test_an_index_may_be_empty(self, manifests: list[Document] | None) -> None:
        parsed = parse(index(manifests=manifests), OCI_INDEX)
        assert parsed.references == ()

    def test_a_missing_subject_is_a_reference_that_need_not_exist(self) -> None:
        parsed = parse(image(subject=descriptor(b"elsewhere", OCI_MANIFEST)))
        assert parsed.subject == digest(b"elsewhere")
        assert parsed.references == (blob(b"{}"), child(b"elsewhere"))

    def test_the_oci_artifact_manifest_of_old_has_blobs_and_no_schema_version(self) -> None:
        document = {
            "mediaType": OCI_ARTIFACT,
            "artifactType": "application/x.signature",
            "blobs": [descriptor(b"signature")],
            "subject": descriptor(b"image", OCI_MANIFEST),
        }
        parsed = parse(document, OCI_ARTIFACT)
        assert parsed.references == (blob(b"signature"), child(b"image"))
        assert parsed.artifact_type == "application/x.signature"

    def test_sha512_and_unknown_fields_and_inline_data_are_fine(self) -> None:
        more = {"data": "eA==", "digest": "sha512:" + "a" * 128, "extra": {"deep": [1]}}
        layer = {**descriptor(b"x"), **more}
        parsed = parse({**image(layer), "org.example.field": {"size": -1.5}})
        assert parsed.references[1].digest == layer["digest"]


class TestArtifactType:
    def test_it_is_the_configs_media_type_unless_stated(self) -> None:
        helm = descriptor(b"{}", "application/vnd.cncf.helm.config.v1+json")
        assert parse(image(config=helm)).artifact_type == helm["mediaType"]

    def test_the_manifests_own_comes_first(self) -> None:
        document = image(artifactType="application/x", config=descriptor(b"{}", OCI_EMPTY))
        assert parse(document).artifact_type == "application/x"

    def test_an_index_without_one_has_none(self) -> None:
        assert parse(index()).artifact_type is None
        assert parse(index(artifactType="application/x")).artifact_type == "application/x"

    def test_an_empty_one_does_not_count(self) -> None:
        assert parse(image(artifactType="")).artifact_type == OCI_CONFIG


class TestMediaType:
    def test_parameters_and_case_of_the_content_type_do_not_matter(self) -> None:
        assert parse(image(), f"{OCI_MANIFEST.upper()} ; charset=utf-8").media_type == OCI_MANIFEST

    @each_row("generic", [None, "", "application/json", "application/octet-stream"])
    def test_without_one_the_bodys_word_counts(self, generic: str | None) -> None:
        assert parse(index(mediaType=DOCKER_LIST), generic).media_type == DOCKER_LIST

    @pytest.mark.parametrize(("document", "meant"), [(image(), OCI_MANIFEST), (index(), OCI_INDEX)])
    def test_without_any_the_shape_counts(self, document: Document, meant: str) -> None:
        assert parse(without(document, "mediaType")).media_type == meant

    def test_the_content_type_counts_when_the_body_is_silent(self) -> None:
        document = without(image(), "mediaType")
        assert parse(document, DOCKER_MANIFEST).media_type == DOCKER_MANIFEST

    @each_row(
        ("document", "content_type"),
        [
            (image(), DOCKER_MANIFEST),
            (image(), OCI_INDEX),
            (index(), OCI_MANIFEST),
            (without(image(), "mediaType"), OCI_INDEX),
            (without(index(), "mediaType"), OCI_MANIFEST),
            (image(), "application/vnd.example.manifest"),
            (without(image(), "mediaType"), "application/vnd.example.manifest"),
            (image(mediaType="application/vnd.example"), None),
            (image(mediaType=OCI_MANIFEST.upper()), OCI_MANIFEST),
            ({"schemaVersion": 2}, None),
            ({}, None),
        ],
    )
    def test_what_contradicts_or_is_unknown_is_refused(
        self, document: Document, content_type: str | None
    ) -> None:
        with pytest.raises(ManifestInvalid):
            parse(document, content_type)

    @pytest.mark.parametrize(
        ("document", "content_type"),
        [
            ({"schemaVersion": 1, "fsLayers": [], "history": []}, None),
            ({"schemaVersion": 1}, "application/vnd.docker.distribution.manifest.v1+prettyjws"),
            (image(fsLayers=[]), OCI_MANIFEST),
        ],
    )
    def test_schema_1_is_refused_with_what_to_do(
        self, document: Document, content_type: str | None
    ) -> None:
        with pytest.raises(ManifestInvalid, match="schema 1 is not supported: push again"):
            parse(document, content_type)


LAYER = descriptor(b"layer")


@each_row(
    "document",
    [
        image(manifests=[]),
        index(layers=[]),
        index(config=descriptor(b"{}")),
        without(image(manifests=[LAYER]), "config"),
        without(image(), "config"),
        {**image(), "config": None},
        image(schemaVersion=3),
        image(schemaVersion="2"),
        image(schemaVersion=2.0),
        image(schemaVersion=True),
        without(image(), "schemaVersion"),
        image(layers={}),
        image(layers="x"),
        {**image(), "layers": ["layer"]},
        image(Layers=[LAYER]),
        {**image(), "\u017fubject": LAYER},  # the long s, which Go folds to s
        image({**LAYER, "Digest": digest(b"other")}),
        image(annotations=[]),
        image(annotations={"k": 1}),
        image(annotations={"k": None}),
        image(annotations={"k": "a\0b"}),
        image(annotations={"k\0": "a"}),
        image(artifactType=7),
        image(artifactType="a\0b"),
        image(artifactType="x" * 256),
        image(subject="sha256:" + "a" * 64),
        image(subject={}),
    ],
)
def test_documents_that_cannot_be_kept(document: Document) -> None:
    with pytest.raises(ManifestInvalid):
        parse(document)


@each_row(
    "wrong",
    [
        {"size": True},
        {"size": 1.0},
        {"size": -1},
        {"size": 2**63},
        {"size": "1"},
        {"size": None},
        {"digest": None},
        {"digest": "sha256:" + "A" * 64},
        {"digest": "sha256:" + "a" * 63},
        {"digest": "sha256:" + "a" * 64 + "\n"},
        {"digest": "md5:" + "a" * 32},
        {"digest": "sha256:../../etc/passwd"},
        {"mediaType": None},
        {"mediaType": ""},
        {"mediaType": 1},
        {"mediaType": "a\nb"},
    ],
)
@each_row("place", ["config", "layer", "child", "subject"])
def test_descriptors_that_cannot_be_trusted(wrong: dict[str, Any], place: str) -> None:
    bad = {**LAYER, **wrong}
    documents: dict[str, Document] = {
        "config": {**image(), "config": bad},
        "layer": image(LAYER, bad),
        "child": index(bad),
        "subject": image(subject=bad),
    }
    with pytest.raises(ManifestInvalid):
        parse(documents[place])


def test_the_message_says_where_it_is_wrong() -> None:
    with pytest.raises(ManifestInvalid, match=r"layers\[1\]\.size"):
        parse(image(LAYER, {**LAYER, "size": -1}))


def test_the_largest_size_a_database_keeps_is_accepted() -> None:
    assert parse(image({**LAYER, "size": 2**63 - 1})).references[1] == blob(b"layer")


def test_annotations_are_kept() -> None:
    annotations = {"org.example": "ü \u2028 \U0001f600", "": ""}
    assert parse(image(annotations=annotations)).annotations == annotations


def test_four_mebibytes_and_not_a_byte_more() -> None:
    payload = encoded(image())
    assert parse_manifest(payload.ljust(MANIFEST_BYTES_MAX), None).media_type == OCI_MANIFEST
    with pytest.raises(TooLarge):
        parse_manifest(payload.ljust(MANIFEST_BYTES_MAX + 1), None)


def test_as_many_layers_as_fit() -> None:
    layer = {"mediaType": "a/b", "size": 1}
    layers = [{**layer, "digest": f"sha256:{number:064x}"} for number in range(32_000)]
    assert len(parse(image(*layers)).references) == 32_000 + 1


@pytest.mark.parametrize("levels", [50_000, pytest.param(2_000_000, marks=pytest.mark.long)])
def test_fields_of_others_nested_as_deeply_as_fits(levels: int) -> None:
    payload = encoded(image(more=0, annotations={"a": "b"}))
    deep = payload.replace(b'"more": 0', b'"more":' + b"[" * levels + b"]" * levels)
    assert deep != payload
    assert parse_manifest(deep, None) == parse_manifest(payload, None)
    inside = image({**LAYER, "more": 0})
    deep = encoded(inside).replace(b'"more": 0', b'"more":' + b'{"x":' * 9999 + b"1" + b"}" * 9999)
    assert len(deep) > 9999
    assert parse_manifest(deep, None).references == parse(inside).references


@each_row("field", ["layers", "config", "annotations", "subject", "artifactType"])
def test_what_is_nested_deeply_is_no_field_of_ours(field: str) -> None:
    document = {**image(), field: 0}
    deep = encoded(document).replace(f'"{field}": 0'.encode(), b"%s")
    assert b"%s" in deep
    for begin, end in ((b"[", b"]"), (b'{"a":', b"}")):
        value = f'"{field}":'.encode() + begin * 500 + b"1" + end * 500
        with pytest.raises(ManifestInvalid):
            parse_manifest(deep.replace(b"%s", value), None)


def test_the_conformance_suites_large_manifest_is_accepted() -> None:
    annotations = {f"org.example.{number}": "x" * 10_000 for number in range(390)}
    assert parse(image(annotations=annotations)).annotations == annotations


def test_bytes_that_are_no_object() -> None:
    for payload in (b"", b"[]", b"1", b'"x"', b"null", json.dumps(image()).encode("utf-16")):
        with pytest.raises(ManifestInvalid):
            parse_manifest(payload, OCI_MANIFEST)

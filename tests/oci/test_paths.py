"""Which URL means what; names made of the words that routes are made of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tables import each_row
from treescale.errors import DigestInvalid, NameInvalid, Refused, UploadUnknown
from treescale.oci.paths import Resource, ResourceKind, parse_path

SHA256 = "sha256:" + "a" * 64
SHA512 = "sha512:" + "b" * 128


@each_row(
    ("path", "route"),
    [
        ("/v2", Resource(ResourceKind.ROOT)),
        ("/v2/", Resource(ResourceKind.ROOT)),
        ("/v2/_catalog", Resource(ResourceKind.CATALOG)),
        ("/v2/a/b/tags/list", Resource(ResourceKind.TAGS, "a/b")),
        ("/v2/a/b/manifests/v1", Resource(ResourceKind.MANIFEST, "a/b", "v1")),
        ("/v2/a/b/manifests/" + SHA256, Resource(ResourceKind.MANIFEST, "a/b", SHA256)),
        ("/v2/a/b/manifests/" + SHA512, Resource(ResourceKind.MANIFEST, "a/b", SHA512)),
        ("/v2/a/b/blobs/" + SHA256, Resource(ResourceKind.BLOB, "a/b", SHA256)),
        ("/v2/a/b/blobs/sha256%3A" + "a" * 64, Resource(ResourceKind.BLOB, "a/b", SHA256)),
        ("/v2/a/b/blobs/uploads/", Resource(ResourceKind.UPLOADS, "a/b")),
        ("/v2/a/b/blobs/uploads", Resource(ResourceKind.UPLOADS, "a/b")),
        ("/v2/a/b/blobs/uploads/Id-1_x", Resource(ResourceKind.UPLOAD, "a/b", "Id-1_x")),
        ("/v2/a/b/referrers/" + SHA256, Resource(ResourceKind.REFERRERS, "a/b", SHA256)),
        ("/v2/a%2Db/%63/tags/list", Resource(ResourceKind.TAGS, "a-b/c")),
        ("/v2/a%2Fb/tags/list", Resource(ResourceKind.TAGS, "a/b")),
        ("/v2/a%2fb%2Fc/manifests%2Fv1", Resource(ResourceKind.MANIFEST, "a/b/c", "v1")),
        ("/v2/_catalog/", Resource(ResourceKind.CATALOG)),
        ("/v2/a/b/tags/list/", Resource(ResourceKind.TAGS, "a/b")),
        ("/v2/a/b/manifests/v1/", Resource(ResourceKind.MANIFEST, "a/b", "v1")),
        ("/v2/a/b/blobs/uploads/Id-1_x/", Resource(ResourceKind.UPLOAD, "a/b", "Id-1_x")),
        ("/v2/a/manifests/b/manifests/c", Resource(ResourceKind.MANIFEST, "a/manifests/b", "c")),
        (
            "/v2/a/blobs/uploads/manifests/c",
            Resource(ResourceKind.MANIFEST, "a/blobs/uploads", "c"),
        ),
        ("/v2/a/blobs/uploads/blobs/uploads/", Resource(ResourceKind.UPLOADS, "a/blobs/uploads")),
        ("/v2/a/tags/list/tags/list", Resource(ResourceKind.TAGS, "a/tags/list")),
        ("/v2/tags/list/manifests/list", Resource(ResourceKind.MANIFEST, "tags/list", "list")),
        ("/v2/a/b/manifests/list", Resource(ResourceKind.MANIFEST, "a/b", "list")),
        (
            "/v2/manifests/manifests/manifests/manifests",
            Resource(ResourceKind.MANIFEST, "manifests/manifests", "manifests"),
        ),
    ],
)
def test_what_a_path_means(path: str, route: Resource) -> None:
    assert parse_path(path) == route


@each_row(
    "path",
    [
        "",
        "/",
        "/v1/search",
        "/v2x",
        "/V2/",
        "v2/",
        "/v2/a",
        "/v2/a/b",
        "/v2/a/tags",
        "/v2//",
        "/v2/a/b/tags/list//",
        "/v2/a/b/manifests/",
        "/v2/a/b/manifests/x%2Fy",
        "/v2/a/b/other/x",
        "/%762/",
        "/v2/a/b/tags/lists",
    ],
)
def test_paths_that_mean_nothing(path: str) -> None:
    assert parse_path(path) is None


@each_row(
    "path",
    [
        "/v2/single/tags/list",
        "/v2/tags/list",
        "/v2//b/tags/list",
        "/v2/a//b/tags/list",
        "/v2/A/b/tags/list",
        "/v2/a/../b/tags/list",
        "/v2/a/%2e%2e/b/tags/list",
        "/v2/a/..%00/b/tags/list",
        "/v2/a%252Fb/tags/list",
        "/v2/a%2F%2e%2e%2Fb/tags/list",
        "/v2/%2Fa/b/tags/list",
        "/v2/a/b%0a/tags/list",
        "/v2/a/b%0A/manifests/x",
        "/v2/a/b%/tags/list",
        "/v2/a/b%4/tags/list",
        "/v2/a/b%zz/tags/list",
        "/v2/a/b%252e/tags/list",
        "/v2/a/b%C3%BC/tags/list",
        "/v2/a/b\u00fc/tags/list",
        "/v2/a/b%7F/tags/list",
        "/v2/a/" + "b" * 254 + "/tags/list",
        "/v2/" + "a/" * 3000 + "tags/list",
        "/v2/a_/b/manifests/x",
        "/v2/a___b/c/manifests/x",
    ],
)
def test_names_that_are_none(path: str) -> None:
    with pytest.raises(NameInvalid):
        parse_path(path)


@each_row("tag", [".x", "-x", "a" * 129, "a+b", "a%20b", "a%25", "%2e%2e", "a,b", "a*", "a@b"])
def test_tags_that_are_none(tag: str) -> None:
    assert parse_path(f"/v2/a/b/manifests/{tag}") == Resource(
        ResourceKind.MANIFEST, "a/b", possible=False
    )


@each_row(
    "digest", ["sha1:" + "a" * 40, "md5:" + "a" * 32, "blake3:" + "a" * 64, "a+b:" + "F" * 32]
)
def test_digests_of_other_algorithms(digest: str) -> None:
    for word, kind in (("manifests", ResourceKind.MANIFEST), ("blobs", ResourceKind.BLOB)):
        assert parse_path(f"/v2/a/b/{word}/{digest}") == Resource(
            kind, "a/b", digest, possible=False
        )
    with pytest.raises(DigestInvalid):
        parse_path(f"/v2/a/b/referrers/{digest}")


@each_row(
    "digest",
    [
        "sha256:baddigeststring",
        "sha256:",
        ":",
        "sha1:" + "a" * 20,
        "SHA256:" + "a" * 64,
        "sha256:" + "A" * 64,
        "sha256:" + "a" * 65,
        "blake3:" + "g" * 64,
        "sha512:" + "a" * 64,
        "sha256:" + "g" * 64,
    ],
)
@each_row("route", ["manifests", "blobs", "referrers"])
def test_digests_that_are_none(route: str, digest: str) -> None:
    with pytest.raises(DigestInvalid):
        parse_path(f"/v2/a/b/{route}/{digest}")


def test_a_tag_is_no_digest() -> None:
    for route in ("blobs", "referrers"):
        with pytest.raises(DigestInvalid):
            parse_path(f"/v2/a/b/{route}/latest")


@each_row("upload", ["a.b", "a%20b", "x" * 129, "%2e%2e", "a:b"])
def test_uploads_that_cannot_exist(upload: str) -> None:
    with pytest.raises(UploadUnknown):
        parse_path(f"/v2/a/b/blobs/uploads/{upload}")


WORDS = st.sampled_from(
    ["manifests", "blobs", "uploads", "tags", "list", "referrers", "v2", "a", "b-c"]
)
NAMES = st.lists(WORDS, min_size=2, max_size=6).map("/".join)


@given(NAMES)
def test_every_name_is_found_again_in_every_route(name: str) -> None:
    assert parse_path(f"/v2/{name}/tags/list") == Resource(ResourceKind.TAGS, name)
    assert parse_path(f"/v2/{name}/manifests/tag") == Resource(ResourceKind.MANIFEST, name, "tag")
    assert parse_path(f"/v2/{name}/blobs/{SHA256}") == Resource(ResourceKind.BLOB, name, SHA256)
    assert parse_path(f"/v2/{name}/blobs/uploads/") == Resource(ResourceKind.UPLOADS, name)
    assert parse_path(f"/v2/{name}/blobs/uploads/id") == Resource(ResourceKind.UPLOAD, name, "id")
    assert parse_path(f"/v2/{name}/referrers/{SHA512}") == Resource(
        ResourceKind.REFERRERS, name, SHA512
    )


@given(st.text(st.sampled_from("ab/.:%2Ff_-\0\n\u0663"), max_size=40))
def test_what_gets_through_stays_inside_a_directory(text: str) -> None:
    for path in (f"/v2/{text}/manifests/x", f"/v2/a/b/manifests/{text}", f"/v2/{text}"):
        try:
            route = parse_path(path)
        except Refused:
            continue
        if route is not None and route.repository:
            parts = [*route.repository.split("/"), route.reference]
            assert not {"", ".", ".."} & set(parts[:-1])
            assert route.reference not in (".", "..")
            assert "/" not in route.reference
            assert "\0" not in path

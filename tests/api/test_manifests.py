"""Manifests over the wire: every kind the conformance suite has, by tag and by digest."""

import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.api.client import Client, Repository
from tests.api.running import Running
from tests.oci.documents import (
    DOCKER_CONFIG,
    DOCKER_FOREIGN,
    DOCKER_LAYER,
    DOCKER_LIST,
    DOCKER_MANIFEST,
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
from treescale.metadata.usage.figures import Usage

MIB = 1024 * 1024
CONFIG, LAYER, BRACES = b'{"os":"linux"}', b"layer" * 1000, b"{}"
PUSHED = (CONFIG, LAYER, BRACES, b"cache")
CONFIG_FIELD = descriptor(CONFIG, OCI_CONFIG)
CHILD = image(descriptor(LAYER), config=CONFIG_FIELD)
NESTED = index(descriptor(encoded(CHILD), OCI_MANIFEST, platform={"os": "linux"}))
FAR = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
CACHE = "application/vnd.buildkit.cacheconfig.v0"
ATTESTATION = {"vnd.docker.reference.type": "attestation-manifest"}

KINDS: dict[str, Document] = {
    "image": image(descriptor(LAYER), config=CONFIG_FIELD),
    "uncompressed image": image(
        descriptor(LAYER, "application/vnd.oci.image.layer.v1.tar"), config=CONFIG_FIELD
    ),
    "docker image": {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": descriptor(CONFIG, DOCKER_CONFIG),
        "layers": [descriptor(LAYER, DOCKER_LAYER)],
    },
    "no layers": image(config=CONFIG_FIELD),
    "layers null": {**image(config=CONFIG_FIELD), "layers": None},
    "index": NESTED,
    "docker list": {
        "schemaVersion": 2,
        "mediaType": DOCKER_LIST,
        "manifests": [descriptor(encoded(CHILD), DOCKER_MANIFEST)],
    },
    "nested index": index(descriptor(encoded(NESTED), OCI_INDEX)),
    "empty index": index(),
    "sparse index": index(
        descriptor(encoded(CHILD), OCI_MANIFEST), descriptor(b"never pushed", OCI_MANIFEST)
    ),
    "artifact": image(
        descriptor(LAYER, "application/x.thing"),
        config=descriptor(BRACES, OCI_EMPTY),
        artifactType="application/x.thing",
    ),
    "artifact without layers": {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/x.thing",
        "config": descriptor(BRACES, OCI_EMPTY),
    },
    "artifact index": index(artifactType="application/x.things"),
    "helm": image(
        descriptor(LAYER, "application/vnd.cncf.helm.chart.content.v1.tar+gzip"),
        config=descriptor(CONFIG, "application/vnd.cncf.helm.config.v1+json"),
    ),
    "missing subject": image(config=CONFIG_FIELD, subject=descriptor(b"nowhere", OCI_MANIFEST)),
    "index with subject": index(subject=descriptor(b"nowhere", OCI_MANIFEST)),
    "data field": image(descriptor(LAYER), config={**CONFIG_FIELD, "data": "eyJvcyI6ImxpbnV4In0="}),
    "non-distributable": image(descriptor(b"far", FAR), config=CONFIG_FIELD),
    "docker foreign": image(
        descriptor(b"far", DOCKER_FOREIGN, urls=["https://example.com/layer"]), config=CONFIG_FIELD
    ),
    "custom fields": {**image(config=CONFIG_FIELD), "org.example": {"a": [1, 2.5, None, "\u00fc"]}},
    "buildkit cache": index(descriptor(LAYER), descriptor(b"cache", CACHE)),
    "attestation": index(
        descriptor(
            encoded(CHILD),
            OCI_MANIFEST,
            platform={"os": "unknown", "architecture": "unknown"},
            annotations=ATTESTATION,
        )
    ),
    "a layer many times": image(*[descriptor(LAYER)] * 100, config=CONFIG_FIELD),
    "large": image(
        config=CONFIG_FIELD,
        annotations={f"org.example.{step}": "x" * 10_000 for step in range(390)},
    ),
}


@pytest.fixture
async def repository(alice: Client) -> Repository:
    """Return a repository that has the blobs and children the kinds need."""
    found = alice.repository("alice/app")
    for data in PUSHED:
        await found.push_blob(data)
    for document in (CHILD, NESTED):
        (await found.put_manifest(document)).expect(201)
    return found


async def expect_manifest(
    repository: Repository, reference: str, payload: bytes, media_type: str, name: str | None = None
) -> None:
    path = f"manifests/{reference}"
    accepted = {"Accept": "text/html"}  # what a client accepts changes nothing
    got = (await repository.request("GET", path, headers=accepted)).expect(200)
    head = (await repository.head(path)).expect(200)
    assert got.body == payload
    for answer in (got, head):
        assert answer.headers["Content-Type"] == media_type
        assert answer.headers["Content-Length"] == str(len(payload))
        assert answer.headers["Docker-Content-Digest"] == (name or digest(payload))


@each_row("kind, tag", [(kind, tag) for kind in KINDS for tag in ("v1.0", "")])
async def test_push_pull_delete(repository: Repository, kind: str, tag: str) -> None:
    document = KINDS[kind]
    reference = tag or digest(encoded(document))
    payload, media_type = encoded(document), document["mediaType"]
    answer = (await repository.put_manifest(payload, reference)).expect(201)
    assert answer.headers["Docker-Content-Digest"] == digest(payload)
    assert answer.headers["Location"] == f"/v2/alice/app/manifests/{digest(payload)}"
    if "subject" in document:
        assert answer.headers["OCI-Subject"] == document["subject"]["digest"]
    else:
        assert "OCI-Subject" not in answer.headers
    await expect_manifest(repository, reference, payload, media_type)
    await expect_manifest(repository, digest(payload), payload, media_type)
    (await repository.delete(f"manifests/{digest(payload)}")).expect(202)
    for gone in {reference, digest(payload)}:
        (await repository.head(f"manifests/{gone}")).expect(404)
        (await repository.get(f"manifests/{gone}")).expect(404, "MANIFEST_UNKNOWN")
    tags = (await repository.get("tags/list")).expect(200).json["tags"]
    assert tags == []


async def test_odd_bytes_are_kept(repository: Repository) -> None:
    payload = b"\n  " + json.dumps(KINDS["image"], indent=7).encode() + b"\r\n\t "
    (await repository.put_manifest(payload, "odd")).expect(201)
    await expect_manifest(repository, "odd", payload, OCI_MANIFEST)


async def test_sha512(repository: Repository) -> None:
    payload = encoded(KINDS["image"])
    name = "sha512:" + hashlib.sha512(payload).hexdigest()
    answer = (await repository.put_manifest(payload, name)).expect(201)
    assert answer.headers["Docker-Content-Digest"] == name
    await expect_manifest(repository, name, payload, OCI_MANIFEST, name)
    (await repository.delete(f"manifests/{name}")).expect(202)
    (await repository.get(f"manifests/{name}")).expect(404, "MANIFEST_UNKNOWN")


async def test_sha512_blobs_in_an_image(repository: Repository) -> None:
    name = await repository.push_blob(b"long", "sha512")
    document = image({**descriptor(b"long"), "digest": name}, config=CONFIG_FIELD)
    (await repository.put_manifest(document, "sha512")).expect(201)


async def test_without_a_length(repository: Repository) -> None:
    """As dockerd sends them."""

    async def pieces() -> AsyncIterator[bytes]:
        payload = encoded(KINDS["image"])
        yield payload[:100]
        yield payload[100:]

    headers = {"Content-Type": OCI_MANIFEST}
    path = "manifests/chunked"
    (await repository.request("PUT", path, headers=headers, data=pieces())).expect(201)
    await expect_manifest(repository, "chunked", encoded(KINDS["image"]), OCI_MANIFEST)


@pytest.mark.parametrize("content_type", ["application/octet-stream", "application/json", None])
async def test_a_type_that_says_nothing(repository: Repository, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    payload = encoded(KINDS["docker image"])
    answer = await repository.request("PUT", "manifests/x", headers=headers, data=payload)
    answer.expect(201)
    await expect_manifest(repository, "x", payload, DOCKER_MANIFEST)


async def test_a_type_with_parameters_is_kept_without(repository: Repository) -> None:
    payload = encoded(KINDS["image"])
    (await repository.put_manifest(payload, "x", f"{OCI_MANIFEST}; charset=utf-8")).expect(201)
    await expect_manifest(repository, "x", payload, OCI_MANIFEST)


class TestSizes:
    @pytest.mark.parametrize(
        ("size", "chunked"), [(4 * MIB + 1, True), (4 * MIB + 1, False), (20 * MIB, False)]
    )
    async def test_one_byte_more(self, repository: Repository, size: int, *, chunked: bool) -> None:
        payload = encoded(KINDS["image"]).ljust(size)

        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, size, MIB):
                yield payload[start : start + MIB]

        answer = await repository.request(
            "PUT",
            "manifests/big",
            headers={"Content-Type": OCI_MANIFEST},
            data=pieces() if chunked else payload,
        )
        answer.expect(413, "SIZE_INVALID")
        (await repository.get("manifests/big")).expect(404, "MANIFEST_UNKNOWN")


class TestRefused:
    async def test_the_wrong_digest(self, repository: Repository) -> None:
        answer = await repository.put_manifest(KINDS["image"], digest(b"other"))
        answer.expect(400, "DIGEST_INVALID")
        (await repository.get(f"manifests/{digest(b'other')}")).expect(404)

    @pytest.mark.parametrize(
        ("reference", "code"),
        [
            ("sha256:baddigeststring", "DIGEST_INVALID"),
            ("sha256:" + "A" * 64, "DIGEST_INVALID"),
            ("sha1:" + "a" * 20, "DIGEST_INVALID"),
        ],
    )
    async def test_bad_references(
        self, repository: Repository, reference: str, code: str, subtests: pytest.Subtests
    ) -> None:
        for method in ("GET", "HEAD", "DELETE", "PUT"):
            with subtests.test(method=method):
                data = encoded(KINDS["image"]) if method == "PUT" else None
                headers = {"Content-Type": OCI_MANIFEST} if data else {}
                path = f"manifests/{reference}"
                answer = await repository.request(method, path, headers=headers, data=data)
                answer.expect(400, None if method == "HEAD" else code)

    @each_row(
        ("reference", "code"),
        [
            (".INVALID_MANIFEST_NAME", "TAG_INVALID"),
            ("-tag", "TAG_INVALID"),
            ("a" * 129, "TAG_INVALID"),
            ("a+b", "TAG_INVALID"),
            ("sha384:" + "a" * 96, "DIGEST_INVALID"),
        ],
    )
    async def test_what_nothing_can_be_called(
        self, repository: Repository, reference: str, code: str, subtests: pytest.Subtests
    ) -> None:
        """It is not there for who reads (the first conformance suite asks), and cannot be put."""
        for method in ("GET", "HEAD", "DELETE", "PUT"):
            with subtests.test(method=method):
                data = encoded(KINDS["image"]) if method == "PUT" else None
                headers = {"Content-Type": OCI_MANIFEST} if data else {}
                path = f"manifests/{reference}"
                answer = await repository.request(method, path, headers=headers, data=data)
                if method == "PUT":
                    answer.expect(400, code)
                else:
                    answer.expect(404, None if method == "HEAD" else "MANIFEST_UNKNOWN")

    async def test_what_nothing_can_be_called_in_anothers_repository(self, bob: Client) -> None:
        for method in ("GET", "HEAD", "DELETE", "PUT"):
            (await bob.repository("alice/app").request(method, "manifests/.x")).expect(401)

    @pytest.mark.parametrize(
        "document",
        [
            image(descriptor(b"never pushed"), config=CONFIG_FIELD),
            image(config=descriptor(b"never pushed", OCI_CONFIG)),
            index(descriptor(b"never pushed", OCI_LAYER)),
        ],
        ids=["layer", "config", "cache layer"],
    )
    async def test_what_was_never_pushed(self, repository: Repository, document: Document) -> None:
        answer = await repository.put_manifest(document, "broken")
        answer.expect(400, "MANIFEST_BLOB_UNKNOWN")
        assert digest(b"never pushed") in answer.body.decode()
        (await repository.get("manifests/broken")).expect(404, "MANIFEST_UNKNOWN")

    async def test_a_deleted_blob_does_not_count(self, repository: Repository) -> None:
        (await repository.delete(f"blobs/{digest(LAYER)}")).expect(405, "UNSUPPORTED")
        (await repository.delete(f"manifests/{digest(encoded(CHILD))}")).expect(202)
        (await repository.delete(f"blobs/{digest(LAYER)}")).expect(202)
        answer = await repository.put_manifest(KINDS["image"], "x")
        answer.expect(400, "MANIFEST_BLOB_UNKNOWN")

    @each_row(
        ("payload", "content_type"),
        [
            (b"[" * 100_000, OCI_MANIFEST),
            (b"{}", "application/vnd.docker.distribution.manifest.v1+json"),
            (encoded(CHILD), OCI_INDEX),
        ],
    )
    async def test_what_is_no_manifest(
        self, repository: Repository, payload: bytes, content_type: str
    ) -> None:
        answer = await repository.put_manifest(payload, "x", content_type)
        answer.expect(400, "MANIFEST_INVALID")

    async def test_a_part_of_one(self, repository: Repository) -> None:
        """RFC 9110, 14.5: kept as the whole it would be another manifest."""
        headers = {"Content-Type": OCI_MANIFEST, "Content-Range": "bytes 0-9/20"}
        payload = encoded(KINDS["image"])
        answer = await repository.request("PUT", "manifests/x", headers=headers, data=payload)
        answer.expect(400, "UNSUPPORTED")
        (await repository.get("manifests/x")).expect(404)

    async def test_a_compressed_body(self, repository: Repository) -> None:
        headers = {"Content-Type": OCI_MANIFEST, "Content-Encoding": "gzip"}
        answer = await repository.request("PUT", "manifests/x", headers=headers, data=b"x")
        answer.expect(415)


class TestUnknown:
    @pytest.mark.parametrize("reference", ["latest", digest(b"nothing"), "sha512:" + "0" * 128])
    async def test_in_a_repository_that_exists(
        self, repository: Repository, reference: str
    ) -> None:
        (await repository.head(f"manifests/{reference}")).expect(404)
        (await repository.get(f"manifests/{reference}")).expect(404, "MANIFEST_UNKNOWN")
        (await repository.delete(f"manifests/{reference}")).expect(404, "MANIFEST_UNKNOWN")

    async def test_in_one_that_does_not(self, alice: Client) -> None:
        answer = await alice.repository("alice/absent").get("manifests/latest")
        assert answer.expect(404).code in ("MANIFEST_UNKNOWN", "NAME_UNKNOWN")

    async def test_a_manifest_is_no_blob_and_a_blob_no_manifest(
        self, repository: Repository
    ) -> None:
        (await repository.get(f"blobs/{digest(encoded(CHILD))}")).expect(404, "BLOB_UNKNOWN")
        (await repository.get(f"manifests/{digest(LAYER)}")).expect(404, "MANIFEST_UNKNOWN")


class TestTags:
    async def put_tagged(self, repository: Repository, payload: bytes, *tags: str) -> Any:
        query = "&".join(f"tag={tag}" for tag in tags)
        return await repository.put_manifest(payload, f"{digest(payload)}?{query}")

    async def test_many_at_once(self, repository: Repository) -> None:
        payload = encoded(KINDS["image"])
        tags = [f"v1.{number}" for number in range(15)]
        answer = (await self.put_tagged(repository, payload, *tags)).expect(201)
        assert sorted(answer.headers.getall("OCI-Tag")) == sorted(tags)
        assert answer.headers["Docker-Content-Digest"] == digest(payload)
        for tag in tags:
            await expect_manifest(repository, tag, payload, OCI_MANIFEST)

    async def test_many_at_once_by_sha512(self, repository: Repository) -> None:
        payload = encoded(KINDS["image"])
        name = "sha512:" + hashlib.sha512(payload).hexdigest()
        answer = await repository.put_manifest(payload, f"{name}?tag=a&tag=b")
        assert sorted(answer.expect(201).headers.getall("OCI-Tag")) == ["a", "b"]
        await expect_manifest(repository, "b", payload, OCI_MANIFEST, name)

    async def test_one_bad_tag_spoils_all(self, repository: Repository) -> None:
        payload = encoded(KINDS["image"])
        (await self.put_tagged(repository, payload, "good", "-bad")).expect(400, "TAG_INVALID")
        (await repository.get("manifests/good")).expect(404)
        (await repository.get(f"manifests/{digest(payload)}?")).expect(200)  # pushed as CHILD

    async def test_more_tags_than_anybody_needs(self, repository: Repository) -> None:
        tags = [f"t{number}" for number in range(1000)]
        answer = await self.put_tagged(repository, encoded(KINDS["image"]), *tags)
        assert answer.status in (400, 413, 414)

    async def test_a_tag_moves_between_kinds(self, repository: Repository) -> None:
        for kind in ("image", "index", "docker image", "artifact", "image"):
            document = KINDS[kind]
            (await repository.put_manifest(document, "latest")).expect(201)
            payload = encoded(document)
            await expect_manifest(repository, "latest", payload, document["mediaType"])

    async def test_the_tags_of_cosign(self, repository: Repository) -> None:
        tag = digest(b"x").replace(":", "-") + ".sig"
        (await repository.put_manifest(KINDS["image"], tag)).expect(201)
        assert (await repository.get("tags/list")).json["tags"] == [tag]


async def test_deleted_and_pushed_again(repository: Repository) -> None:
    payload = encoded(KINDS["image"])
    (await repository.put_manifest(payload, "x")).expect(201)
    (await repository.delete(f"manifests/{digest(payload)}")).expect(202)
    (await repository.put_manifest(payload, "x")).expect(201)
    await expect_manifest(repository, "x", payload, OCI_MANIFEST)


async def test_what_is_sent_is_counted_as_pulled(registry: Running, repository: Repository) -> None:
    """By its tag and by its digest; not what is only looked at."""
    (await repository.put_manifest(KINDS["image"], "x")).expect(201)
    payload = encoded(KINDS["image"])
    (await repository.head("manifests/x")).expect(200)
    (await repository.get("manifests/y")).expect(404)
    answer = (await repository.get("manifests/x")).expect(200)
    etag = {"If-None-Match": answer.headers["ETag"]}
    (await repository.get("manifests/x", **etag)).expect(304)
    (await repository.get(f"manifests/{digest(payload)}")).expect(200)
    await registry.rooms.publishing.counter.write(actor="server:s1")
    (tag,) = await Usage(registry.parts.database.connections).tags(repository.name, "", 9)
    assert (tag.pushed_by, tag.pulls) == ("alice", 2)
    assert tag.pulled == pytest.approx(registry.parts.clock.now(), abs=60)
    told = [
        (one.reference, one.digest, one.payload)
        for one in await registry.parts.database.event_log.after(0, 100)
        if one.kind == "image.pulled"
    ]
    one = {"count": 1}
    assert told == [(None, str(digest(payload)), one), ("x", str(digest(payload)), one)]


async def test_a_range_of_a_manifest(repository: Repository) -> None:
    """As containerd asks; the whole is right too (wire.md 3a)."""
    payload = encoded(CHILD)
    answer = await repository.get(f"manifests/{digest(payload)}", Range="bytes=0-")
    assert answer.status in (200, 206)
    assert answer.body == payload

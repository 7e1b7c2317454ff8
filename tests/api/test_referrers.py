"""Referrers: who refers to a manifest (OCI Distribution Spec, "Listing Referrers")."""

import pytest

from tests.api.client import Answer, Client, Repository
from tests.oci.documents import (
    OCI_EMPTY,
    OCI_INDEX,
    OCI_MANIFEST,
    Document,
    descriptor,
    digest,
    encoded,
    image,
    index,
)

SUBJECT = descriptor(b"the subject", OCI_MANIFEST)
PATH = f"referrers/{SUBJECT['digest']}"
EMPTY = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}


def artifact(kind: str, number: int = 0, **more: object) -> Document:
    return image(
        config=descriptor(b"{}", OCI_EMPTY),
        artifactType=kind,
        subject=SUBJECT,
        annotations={"number": str(number)},
        **more,
    )


def listed(document: Document, artifact_type: str | None) -> Document:
    """Return what the list must say of a document."""
    found = descriptor(encoded(document), document["mediaType"])
    if artifact_type is not None:
        found["artifactType"] = artifact_type
    if "annotations" in document:
        found["annotations"] = document["annotations"]
    return found


@pytest.fixture
async def repository(alice: Client) -> Repository:
    found = alice.repository("alice/app")
    await found.push_blob(b"{}")
    return found


async def referrers(repository: Repository, query: str = "") -> Answer:
    answer = (await repository.get(PATH + query)).expect(200)
    assert answer.headers["Content-Type"] == OCI_INDEX
    assert {**answer.json, "manifests": []} == EMPTY
    return answer


async def test_nobody_refers_to_what_is_unknown(repository: Repository) -> None:
    assert (await referrers(repository)).json == EMPTY
    zeros = "sha256:" + "0" * 64
    assert (await repository.get(f"referrers/{zeros}")).expect(200).json == EMPTY
    answer = await repository.get("referrers/sha512:" + "0" * 128)
    assert answer.expect(200).json == EMPTY


async def test_a_repository_that_is_not_there_yet(alice: Client) -> None:
    """As oras asks before its first push; 404 NAME_UNKNOWN would be an error to it."""
    answer = await alice.repository("alice/absent").get(PATH)
    assert answer.expect(200).json == EMPTY


@pytest.mark.parametrize("bad", ["sha256:bad", "latest", "sha256:" + "A" * 64])
async def test_what_is_no_digest(repository: Repository, bad: str) -> None:
    (await repository.get(f"referrers/{bad}")).expect(400, "DIGEST_INVALID")


async def test_every_kind_of_referrer(repository: Repository) -> None:
    by_config = image(config=descriptor(b"{}", "application/x.config"), subject=SUBJECT)
    plain_index = index(subject=SUBJECT)
    typed_index = index(subject=SUBJECT, artifactType="application/x.index")
    expected = [
        listed(artifact("application/x.sbom"), "application/x.sbom"),
        listed(by_config, "application/x.config"),
        listed(plain_index, None),
        listed(typed_index, "application/x.index"),
    ]
    for document in (artifact("application/x.sbom"), by_config, plain_index, typed_index):
        answer = (await repository.put_manifest(document)).expect(201)
        assert answer.headers["OCI-Subject"] == SUBJECT["digest"]
    found = (await referrers(repository)).json["manifests"]
    assert sorted(found, key=str) == sorted(expected, key=str)


async def test_by_tag_too_and_once_however_many_tags(repository: Repository) -> None:
    document = artifact("application/x")
    for tag in ("one", "two"):
        answer = (await repository.put_manifest(document, tag)).expect(201)
        assert answer.headers["OCI-Subject"] == SUBJECT["digest"]
    found = (await referrers(repository)).json["manifests"]
    assert found == [listed(document, "application/x")]


async def test_the_subject_comes_later_and_takes_them_along(repository: Repository) -> None:
    subject = image(config=descriptor(b"{}", OCI_EMPTY))
    payload = encoded(subject)
    document = {**artifact("application/x"), "subject": descriptor(payload, OCI_MANIFEST)}
    (await repository.put_manifest(document)).expect(201)
    expected = [listed(document, "application/x")]
    path = f"referrers/{digest(payload)}"
    (await repository.put_manifest(subject)).expect(201)
    assert (await repository.get(path)).json["manifests"] == expected
    (await repository.delete(f"manifests/{digest(payload)}")).expect(202)
    assert (await repository.get(path)).json["manifests"] == []
    (await repository.put_manifest(document)).expect(201)
    assert (await repository.get(path)).json["manifests"] == expected


async def test_the_filter(repository: Repository) -> None:
    sbom, signature = artifact("application/x.sbom+json"), artifact("application/x.signature")
    for document in (sbom, signature, index(subject=SUBJECT)):
        (await repository.put_manifest(document)).expect(201)
    assert "OCI-Filters-Applied" not in (await referrers(repository)).headers
    answer = await referrers(repository, "?artifactType=application%2Fx.sbom%2Bjson")
    assert answer.headers["OCI-Filters-Applied"] == "artifactType"
    assert answer.json["manifests"] == [listed(sbom, "application/x.sbom+json")]
    answer = await referrers(repository, "?artifactType=application/x.other")
    assert answer.headers["OCI-Filters-Applied"] == "artifactType"
    assert answer.json == EMPTY


@pytest.mark.parametrize("filtered", [True, False])
async def test_pages(repository: Repository, *, filtered: bool) -> None:
    documents = [artifact("application/x+y", number) for number in range(7)]
    for document in (*documents, artifact("application/other")):
        (await repository.put_manifest(document)).expect(201)
    found: list[Document] = []
    url = f"/v2/alice/app/{PATH}?n=3"
    url += "&artifactType=application%2Fx%2By" if filtered else ""
    pages = 0
    while url:
        answer = (await repository.get(url)).expect(200)
        assert len(answer.json["manifests"]) <= 3
        found += answer.json["manifests"]
        pages += 1
        link = answer.headers.get("Link", "")
        assert not link or link.endswith('>; rel="next"')
        url = link[1:].partition(">")[0]
    assert pages == 3
    names = {one["digest"] for one in found}
    assert names >= {digest(encoded(document)) for document in documents}
    assert len(found) == len(names) == (7 if filtered else 8)


async def test_many_large_annotations_come_in_pages_clients_can_read(
    repository: Repository,
) -> None:
    """Clients read 4 MiB of an index; ten referrers with 1 MB of annotations each are more."""
    names = set()
    for number in range(6):
        document = {**artifact("application/x"), "annotations": {str(number): "x" * 1_000_000}}
        (await repository.put_manifest(document)).expect(201)
        names.add(digest(encoded(document)))
    url = f"/v2/alice/app/{PATH}"
    found = set()
    while url:
        answer = (await repository.get(url)).expect(200)
        assert len(answer.body) < 4 * 1024 * 1024
        found |= {one["digest"] for one in answer.json["manifests"]}
        url = answer.headers.get("Link", "")[1:].partition(">")[0]
    assert found == names

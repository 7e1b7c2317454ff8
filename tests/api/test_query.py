"""Queries: a plus is a plus, a blank is %20, and what is broken is refused."""

import pytest

from tests.api.client import Client, Repository
from tests.oci.documents import OCI_EMPTY, OCI_MANIFEST, Document, descriptor, encoded, image
from tests.tables import each_row
from treescale.errors import RequestInvalid
from treescale.oci.query import query_values

SUBJECT = descriptor(b"the subject", OCI_MANIFEST)
PATH = f"referrers/{SUBJECT['digest']}"
KINDS = (
    "application/spdx+json",
    "application/vnd.example+xml",
    "application/vnd.a+b+yaml",
    "application/vnd.example.plain",
    "application/vnd.example+json; version=1 +2",
)


@each_row(
    ("query", "values"),
    [
        ("", []),
        ("x", [""]),
        ("x=", [""]),
        ("x=a+b", ["a+b"]),
        ("x=a%2Bb", ["a+b"]),
        ("x=a%20b", ["a b"]),
        ("x=a%252Bb", ["a%2Bb"]),
        ("x=1&y=2&x=3", ["1", "3"]),
        ("%78=1", ["1"]),
        ("x=a=b", ["a=b"]),
        ("x=%C3%A9", ["\xe9"]),
        ("x=\xe9", ["\xe9"]),
        ("&&x=1&", ["1"]),
        ("x=a;b", ["a;b"]),
        ("y=%&z=%ff", []),
    ],
)
def test_values(query: str, values: list[str]) -> None:
    assert query_values(query, "x") == values


@each_row("value", ["%", "%a", "%zz", "a%2", "%ff", "%ED%A0%80", "%C3", "\udcff"])
def test_values_that_are_broken(value: str) -> None:
    with pytest.raises(RequestInvalid):
        query_values(f"x={value}", "x")


def referrer(kind: str, number: int) -> Document:
    return image(
        config=descriptor(b"{}", OCI_EMPTY),
        artifactType=kind,
        subject=SUBJECT,
        annotations={"number": str(number)},
    )


@pytest.fixture
async def repository(alice: Client) -> Repository:
    found = alice.repository("alice/app")
    await found.push_blob(b"{}")
    for kind in KINDS:
        for number in range(3):
            (await found.put_manifest(encoded(referrer(kind, number)))).expect(201)
    return found


async def test_filters(repository: Repository, subtests: pytest.Subtests) -> None:
    """As it is, and escaped; with pages, whose links say the same."""
    for kind in KINDS:
        with subtests.test(kind=kind):
            plain = kind.replace(" ", "%20")
            for asked in (plain, plain.replace("+", "%2B"), plain.replace("/", "%2F")):
                found = []
                path: str | None = f"{PATH}?n=1&artifactType={asked}&last="
                while path is not None:
                    answer = (await repository.get(path)).expect(200)
                    assert answer.headers["OCI-Filters-Applied"] == "artifactType"
                    found += [each["artifactType"] for each in answer.json["manifests"]]
                    link = answer.headers.get("Link")
                    assert link is None or "+" not in link
                    path = link and link[1 : link.index(">")]
                assert found == [kind] * 3


async def test_an_empty_filter_is_none(repository: Repository) -> None:
    for query in ("artifactType=", "artifactType", "artifactType=&n=50"):
        answer = (await repository.get(f"{PATH}?{query}")).expect(200)
        assert len(answer.json["manifests"]) == 3 * len(KINDS)
        assert "OCI-Filters-Applied" not in answer.headers


async def test_a_filter_that_no_type_can_be(
    repository: Repository, subtests: pytest.Subtests
) -> None:
    """An empty list would say that there is no signature, no SBOM."""
    for query in (
        "artifactType=application/spdx%20json",
        "artifactType=%20",
        "artifactType=application/spdx+json%20",
        "artifactType=;a=b",
        "artifactType=a/b%0A",
        "artifactType=" + "a" * 256,
        "artifactType=%",
        "artifactType=%ff",
        "artifactType=a/b&artifactType=c/d",
    ):
        with subtests.test(query=query):
            (await repository.get(f"{PATH}?{query}")).expect(400, "UNSUPPORTED")


async def test_the_same_filter_twice(repository: Repository) -> None:
    query = f"artifactType={KINDS[0]}&artifactType={KINDS[0]}"
    answer = (await repository.get(f"{PATH}?{query}")).expect(200)
    assert len(answer.json["manifests"]) == 3


async def test_a_plus_elsewhere(repository: Repository) -> None:
    """No tag, digest, name or number has one; where a page starts, anything may stand."""
    answer = await repository.put_manifest(
        referrer("a/b", 1), "sha256:" + "0" * 64 + "?tag=v1+2", OCI_MANIFEST
    )
    answer.expect(400, "TAG_INVALID")
    for query in ("digest=sha256:+", "mount=sha256:+", "digest-algorithm=sha+256"):
        answer = await repository.request("POST", f"blobs/uploads/?{query}", data=b"")
        answer.expect(400, "DIGEST_INVALID")
    digest = descriptor(b"{}")["digest"]
    answer = await repository.request("POST", f"blobs/uploads/?mount={digest}&from=alice/a+b")
    answer.expect(202)
    (await repository.put_manifest(referrer("a/b", 1), "b")).expect(201)
    assert (await repository.get("tags/list?last=a+b")).expect(200).json["tags"] == ["b"]
    (await repository.get("tags/list?n=+5")).expect(400, "PAGINATION_NUMBER_INVALID")
    (await repository.get("tags/list?n=%zz")).expect(400, "UNSUPPORTED")


async def test_scopes_are_written_as_in_a_form(alice: Client) -> None:
    """There a plus, as %20, is a blank between scopes."""
    for blank in ("+", "%20"):
        query = f"scope=repository:alice/a:pull{blank}repository:alice/b:push"
        answer = await alice.raw("GET", f"/token?{query}", alice.basic())
        assert answer.expect(200).json["scope"].split() == [
            "repository:alice/a:pull",
            "repository:alice/b:push",
        ]

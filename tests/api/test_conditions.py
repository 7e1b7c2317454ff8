"""If-Match and If-None-Match over the wire (RFC 9110, 13.1 and 13.2)."""

from typing import Any

import pytest

from tests.api.client import Answer, Client, Repository
from tests.oci.documents import (
    OCI_CONFIG,
    OCI_MANIFEST,
    Document,
    descriptor,
    digest,
    encoded,
    image,
)
from tests.tables import each_row

BLOB = b"0123456789" * 20_000


def made(what: str) -> Document:
    return image(config=descriptor(b"{}", OCI_CONFIG), annotations={"made": what})


def etag(what: str) -> str:
    return f'"{digest(encoded(made(what)))}"'


FIRST, SECOND, NEVER = etag("first"), etag("second"), etag("never")


@pytest.fixture
async def repository(alice: Client) -> Repository:
    found = alice.repository("alice/app")
    await found.push_blob(b"{}")
    await found.push_blob(BLOB)
    (await found.put_manifest(made("first"), "t")).expect(201)
    return found


async def put(repository: Repository, reference: str, what: str, **headers: str) -> Answer:
    return await repository.request(
        "PUT",
        f"manifests/{reference}",
        headers={"Content-Type": OCI_MANIFEST, **_named(headers)},
        data=encoded(made(what)),
    )


async def ask(repository: Repository, method: str, path: str, **headers: str) -> Answer:
    return await repository.request(method, path, headers=_named(headers))


def _named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


async def now(repository: Repository, reference: str = "t") -> str | None:
    return (await repository.head(f"manifests/{reference}")).headers.get("ETag")


class TestPushes:
    async def test_a_tag_that_is_what_was_read(self, repository: Repository) -> None:
        assert await now(repository) == FIRST
        (await put(repository, "t", "second", If_Match=FIRST)).expect(201)
        assert await now(repository) == SECOND

    @each_row(
        "headers",
        [
            {"If-Match": NEVER},
            {"If-Match": f"W/{FIRST}"},
            {"If-Match": f"{NEVER}, W/{FIRST}"},
            {"If-None-Match": "*"},
            {"If-None-Match": FIRST},
            {"If-None-Match": f"W/{FIRST}"},
            {"If-None-Match": f"{NEVER}, {FIRST}"},
            {"If-Match": FIRST, "If-None-Match": "*"},
        ],
    )
    async def test_one_that_is_not(self, repository: Repository, headers: dict[str, str]) -> None:
        answer = await put(repository, "t", "second", **headers)
        answer.expect(412, "PRECONDITION_FAILED")
        assert await now(repository) == FIRST
        (await repository.get(f"manifests/{SECOND[1:-1]}")).expect(404)

    @each_row(
        "headers",
        [
            {"If-Match": "*"},
            {"If-Match": f'"x", {FIRST}'},
            {"If-None-Match": NEVER},
            {"If-Match": FIRST, "If-None-Match": NEVER},
            {"If-Unmodified-Since": "Thu, 01 Jan 1970 00:00:00 GMT"},
            {"If-Modified-Since": "Thu, 01 Jan 2099 00:00:00 GMT"},
        ],
    )
    async def test_one_that_is(self, repository: Repository, headers: dict[str, str]) -> None:
        (await put(repository, "t", "second", **headers)).expect(201)
        assert await now(repository) == SECOND
        (await put(repository, "t", "first")).expect(201)

    async def test_an_absent_tag(self, repository: Repository) -> None:
        for wrong in ("*", FIRST):
            answer = await put(repository, "new", "first", If_Match=wrong)
            answer.expect(412, "PRECONDITION_FAILED")
        assert await now(repository, "new") is None
        (await put(repository, "new", "first", If_None_Match="*")).expect(201)
        (await put(repository, "new", "second", If_None_Match="*")).expect(412)
        assert await now(repository, "new") == FIRST

    async def test_by_digest_with_tags_it_is_about_each_tag(self, repository: Repository) -> None:
        reference = f"{SECOND[1:-1]}?tag=t&tag=u"
        for wrong in ({"If_None_Match": "*"}, {"If_Match": FIRST}, {"If_Match": NEVER}):
            answer = await put(repository, reference, "second", **wrong)
            answer.expect(412, "PRECONDITION_FAILED")
        assert [await now(repository), await now(repository, "u")] == [FIRST, None]
        (await put(repository, "u", "first")).expect(201)
        (await put(repository, reference, "second", If_Match=FIRST)).expect(201)
        assert [await now(repository), await now(repository, "u")] == [SECOND, SECOND]

    @each_row(
        "wrong",
        [FIRST[1:-1], "", "*, *", f"{FIRST} {SECOND}", f"w/{FIRST}", '"'],
    )
    async def test_a_condition_that_is_not_understood(
        self, repository: Repository, wrong: str
    ) -> None:
        for field in ("If-Match", "If-None-Match"):
            (await put(repository, "t", "second", **{field: wrong})).expect(400, "UNSUPPORTED")
            answer = await ask(repository, "DELETE", "manifests/t", **{field: wrong})
            answer.expect(400, "UNSUPPORTED")
        assert await now(repository) == FIRST


class TestDeletions:
    async def test_a_tag(self, repository: Repository) -> None:
        (await put(repository, "t", "second")).expect(201)
        for wrong in ({"If_Match": FIRST}, {"If_None_Match": "*"}, {"If_Match": f"W/{SECOND}"}):
            answer = await ask(repository, "DELETE", "manifests/t", **wrong)
            answer.expect(412, "PRECONDITION_FAILED")
        assert await now(repository) == SECOND
        (await ask(repository, "DELETE", "manifests/t", If_Match=SECOND)).expect(202)
        assert await now(repository) is None

    async def test_a_manifest(self, repository: Repository) -> None:
        path = f"manifests/{FIRST[1:-1]}"
        (await ask(repository, "DELETE", path, If_Match=SECOND)).expect(412)
        (await ask(repository, "DELETE", path, If_None_Match=SECOND)).expect(202)
        (await repository.get(path)).expect(404)

    async def test_a_blob(self, repository: Repository) -> None:
        path = f"blobs/{digest(BLOB)}"
        (await ask(repository, "DELETE", path, If_Match=FIRST)).expect(412, "PRECONDITION_FAILED")
        (await repository.head(path)).expect(200)
        (await ask(repository, "DELETE", path, If_Match="*")).expect(202)
        (await repository.head(path)).expect(404)

    async def test_what_is_refused_anyway_is_refused_for_that(
        self, repository: Repository, bob: Client
    ) -> None:
        for path in ("manifests/absent", "manifests/.x", f"manifests/{NEVER[1:-1]}"):
            answer = await ask(repository, "DELETE", path, If_Match=FIRST)
            answer.expect(404, "MANIFEST_UNKNOWN")
        answer = await ask(repository, "DELETE", f"blobs/{NEVER[1:-1]}", If_Match=FIRST)
        answer.expect(404, "BLOB_UNKNOWN")
        (await put(repository, ".x", "first", If_Match=NEVER)).expect(400, "TAG_INVALID")
        other = bob.repository("alice/app")
        (await put(other, "t", "first", If_Match=NEVER)).expect(401)
        (await ask(other, "DELETE", "manifests/t", If_Match=NEVER)).expect(401)
        answer = await repository.request(
            "PUT",
            "manifests/t",
            headers={"Content-Type": OCI_MANIFEST, "If-Match": NEVER},
            data=b"{}",
        )
        answer.expect(400, "MANIFEST_INVALID")


def _paths() -> list[tuple[str, str]]:
    return [
        ("manifests/t", FIRST),
        (f"manifests/{FIRST[1:-1]}", FIRST),
        (f"blobs/{digest(BLOB)}", f'"{digest(BLOB)}"'),
    ]


every_read = each_row(
    "method, path, tag", [(method, *row) for method in ("GET", "HEAD") for row in _paths()]
)


class TestReads:
    @every_read
    async def test_what_holds(
        self, repository: Repository, method: str, path: str, tag: str
    ) -> None:
        headers: dict[str, Any]
        for headers in ({"If_Match": tag}, {"If_Match": "*"}, {"If_None_Match": NEVER}):
            answer = await ask(repository, method, path, **headers)
            assert answer.expect(200).headers["ETag"] == tag

    @every_read
    async def test_what_does_not(
        self, repository: Repository, method: str, path: str, tag: str
    ) -> None:
        code = None if method == "HEAD" else "PRECONDITION_FAILED"
        for wrong in (NEVER, f"W/{tag}"):
            (await ask(repository, method, path, If_Match=wrong)).expect(412, code)
            answer = await ask(
                repository, method, path, If_Match=wrong, If_None_Match=tag, Range="bytes=0-1"
            )
            answer.expect(412, code)

    @every_read
    async def test_what_the_reader_has(
        self, repository: Repository, method: str, path: str, tag: str
    ) -> None:
        for known in (tag, f"W/{tag}", "*", f"{NEVER}, {tag}"):
            answer = await ask(
                repository, method, path, If_Match=tag, If_None_Match=known, Range="bytes=0-1"
            )
            assert answer.expect(304).headers["ETag"] == tag
        (await ask(repository, method, path, If_None_Match="what is this")).expect(200)

    @pytest.mark.parametrize(("path", "tag"), _paths())
    async def test_what_is_not_there(self, repository: Repository, path: str, tag: str) -> None:
        (await repository.delete(path)).expect(202)
        for method in ("GET", "HEAD"):
            (await ask(repository, method, path, If_Match=tag)).expect(404)


async def test_a_range_under_a_condition(repository: Repository) -> None:
    path, tag = f"blobs/{digest(BLOB)}", f'"{digest(BLOB)}"'
    got = await ask(repository, "GET", path, If_Match=tag, Range="bytes=5-9")
    assert got.expect(206).body == BLOB[5:10]
    (await ask(repository, "GET", path, If_Match=tag, Range="bytes=999999-")).expect(416)
    (await ask(repository, "GET", path, If_Match=NEVER, Range="bytes=999999-")).expect(412)
    for stale in (NEVER, f"W/{tag}", "Thu, 01 Jan 1970 00:00:00 GMT"):
        got = await ask(repository, "GET", path, If_Range=stale, Range="bytes=5-9")
        assert got.expect(200).body == BLOB

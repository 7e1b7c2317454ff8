"""Nothing a client names leaves its place: paths, uploads, deleted blobs, other origins."""

from pathlib import PurePosixPath
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.api.client import Client, MakePublic, Repository
from tests.oci.documents import digest
from tests.tables import each_row
from treescale.errors import Refused
from treescale.oci import digest as digest_module
from treescale.oci.digest import parse_digest
from treescale.oci.names import check_namespace, check_repository, check_tag

ROOT: Final = PurePosixPath("/data/registry")
TEXTS: Final = (
    st.text(st.sampled_from("ab/.:%2Ff_-\0\n\\\u0663\u212a~"), max_size=40)
    | st.from_regex(r"(sha256|sha512|\.\.|/)?[:/][0-9a-f./]{0,130}")
    | st.text(st.sampled_from("0123456789abcdef"), min_size=64, max_size=64).map("sha256:".__add__)
)
CHECKS: Final = (check_repository, check_namespace, check_tag, lambda text: str(parse_digest(text)))


def inside(name: str) -> bool:
    """Say whether a file called so below ROOT is below ROOT, in fact and after `..` is followed."""
    path = ROOT / name
    return (
        path.is_relative_to(ROOT)
        and path != ROOT
        and not {".", "..", ""} & set(name.split("/"))
        and "\0" not in name
        and name.isascii()
        and name.isprintable()
    )


@given(TEXTS)
def test_what_is_accepted_lies_inside(text: str) -> None:
    """S44: whatever passes a check could be a path, though none is made of it."""
    for check in CHECKS:
        try:
            accepted = check(text)
        except Refused:
            continue
        assert accepted == text
        assert inside(accepted)


@each_row("bad", ["/etc/passwd", "../x", "a/../../x", "", "a/./b", "a\0", "a\n", "\u0663", "a//b"])
def test_what_lies_outside_is_seen(bad: str) -> None:
    """The control: the property above can fail."""
    assert not inside(bad)
    for check in CHECKS:
        with pytest.raises(Refused):
            check(bad)


def test_a_digest_check_that_looks_at_the_start_alone_is_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(digest_module, "is_digest", lambda text: text.startswith("sha256:"))
    assert not inside(str(parse_digest("sha256:/../../../etc/passwd")))


@each_row("method", ["GET", "PUT", "DELETE", "PATCH"])
async def test_encoded_ways_out(alice: Client, method: str, subtests: pytest.Subtests) -> None:
    for path in (
        "/v2/alice/app/blobs/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/v2/alice/app/blobs/..%00",
        "/v2/alice/app/manifests/%2e%2e",
        "/v2/alice/app/manifests/%2fetc%2fpasswd",
        "/v2/alice/app/blobs/uploads/%2e%2e%2fx",
        "/v2/alice/app/blobs/uploads/..",
        "/v2/%2e%2e/%2e%2e/etc/passwd/manifests/x",
        "/v2/alice/%252e%252e/app/tags/list",
        "/v2//etc/passwd/tags/list",
        "/v2/alice/app/blobs/sha256:..%2f..%2f",
    ):
        with subtests.test(path=path):
            answer = await alice.raw(method, path, alice.basic())
            assert answer.status in (400, 401, 404, 405)


@each_row("path", ["/v2/", "/v2/_catalog", "/v2/alice/app/tags/list", "/token"])
@each_row("method", ["GET", "OPTIONS"])
async def test_no_other_origin_is_invited(
    alice: Client, method: str, path: str, subtests: pytest.Subtests
) -> None:
    """S43: no answer lets a browser read it for another site, let alone with credentials."""
    for origin in ("https://evil.example", "null", "*"):
        with subtests.test(origin=origin):
            headers = {"Origin": origin, "Access-Control-Request-Method": "GET", **alice.basic()}
            answer = await alice.raw(method, path, headers)
            assert not [
                name for name in answer.headers if name.lower().startswith("access-control-")
            ]


async def test_a_deleted_blob_stays_deleted_whoever_reads_it_elsewhere(
    alice: Client, bob: Client, make_public: MakePublic
) -> None:
    """S17: distribution's shared cache was filled again by another repository (CVE-2026-35172)."""
    data = b"a blob of two" * 10_000
    for client, name in ((alice, "alice/app"), (alice, "alice/other"), (bob, "bob/app")):
        await client.repository(name).push_blob(data)
    await make_public("alice/app")
    path = f"blobs/{digest(data)}"
    own = alice.repository("alice/app")
    for _ in range(2):
        (await own.get(path)).expect(200)
    (await own.delete(path)).expect(202)
    for client, name in ((alice, "alice/other"), (bob, "bob/app")):
        assert (await client.repository(name).get(path)).expect(200).body == data
        for reader in (own, bob.repository("alice/app")):
            (await reader.get(path)).expect(404, "BLOB_UNKNOWN")
            (await reader.head(path)).expect(404)


@pytest.fixture
def repository(alice: Client) -> Repository:
    return alice.repository("alice/app")


async def test_after_its_end_an_upload_takes_nothing(repository: Repository) -> None:
    """T94: PATCH after PUT, PUT twice, the digest of another session, nothing at all."""
    location = await repository.start_upload()
    (await repository.request("PATCH", location, data=b"one")).expect(202)
    other = await repository.start_upload()
    (await repository.request("PATCH", other, data=b"two")).expect(202)
    url = f"{location}?digest={digest(b'two')}"
    (await repository.request("PUT", url, data=b"")).expect(400, "DIGEST_INVALID")
    url = f"{other}?digest={digest(b'two')}"
    (await repository.request("PUT", url, data=b"")).expect(201)
    # A client whose 201 was lost asks again, and is told the same; nothing is added.
    (await repository.request("PUT", url, data=b"x")).expect(201)
    for method in ("PATCH", "GET", "DELETE"):
        data = b"x" if method == "PATCH" else None
        answer = await repository.request(method, other, data=data)
        answer.expect(404, "BLOB_UPLOAD_UNKNOWN")
    assert (await repository.get(f"blobs/{digest(b'two')}")).expect(200).body == b"two"
    (await repository.head(f"blobs/{digest(b'one')}")).expect(404)


async def test_a_blob_of_no_bytes(repository: Repository) -> None:
    empty = await repository.push_blob(b"")
    assert (await repository.get(f"blobs/{empty}")).expect(200).body == b""


async def test_chunks_that_overlap_or_leave_a_gap(repository: Repository) -> None:
    location = await repository.start_upload()
    (await repository.request("PATCH", location, data=b"0123456789")).expect(202)
    for text in ("5-9", "0-4", "11-15", "9-13"):
        headers = {"Content-Range": text}
        answer = await repository.request("PATCH", location, headers=headers, data=b"abcde")
        answer.expect(416)
        assert answer.headers["Range"] == "0-9"
    headers = {"Content-Range": "10-14"}
    (await repository.request("PATCH", location, headers=headers, data=b"abcde")).expect(202)
    url = f"{location}?digest={digest(b'0123456789abcde')}"
    (await repository.request("PUT", url, data=b"")).expect(201)

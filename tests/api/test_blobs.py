"""Blobs over the wire: HEAD, GET with every form of Range, DELETE."""

import hashlib
from email import message_from_bytes
from email.message import Message

import pytest

from tests.api.client import Answer, Client, Repository
from tests.oci.documents import digest
from tests.tables import each_row
from treescale.chunks.format.recipe import Recipe, decode

SMALL = bytes(range(256)) * 8
"""2048 bytes, as the conformance suite uses; lives in the database."""
LARGE = hashlib.shake_256(b"large").digest(3_200_000)
"""3.2 MB that do not compress; lives in several chunks."""
NEVER_PUSHED = "sha256:" + "0" * 64


@pytest.fixture
def repository(alice: Client) -> Repository:
    return alice.repository("alice/app")


@each_row("data", [b"", b"{}", b"x", SMALL, LARGE], ids=["0", "2", "1", "2k", "3M"])
@each_row("algorithm", ["sha256", "sha512"])
async def test_what_was_pushed_comes_back(
    repository: Repository, data: bytes, algorithm: str
) -> None:
    name = await repository.push_blob(data, algorithm)
    for answer in (await repository.get(f"blobs/{name}"), await repository.head(f"blobs/{name}")):
        answer.expect(200)
        assert answer.headers["Content-Length"] == str(len(data))
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Docker-Content-Digest"] == name
        assert answer.headers["ETag"] == f'"{name}"'
        assert answer.headers["Accept-Ranges"] == "bytes"
    assert (await repository.get(f"blobs/{name}")).body == data


async def test_the_digest_may_come_percent_encoded(repository: Repository) -> None:
    name = await repository.push_blob(SMALL)
    (await repository.get("blobs/" + name.replace(":", "%3A"))).expect(200)


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["inline", "chunked"])
async def test_one_range(repository: Repository, data: bytes, subtests: pytest.Subtests) -> None:
    name = await repository.push_blob(data)
    for header, first, last in (
        ("bytes=500-1499", 500, 1499),
        ("bytes=500-", 500, None),
        ("bytes=-500", -500, None),
        ("bytes=2000-99999999", 2000, None),
        ("bytes=0-0", 0, 0),
        ("bytes=0-", 0, None),
        ("bytes=-1", -1, None),
    ):
        with subtests.test(header=header, first=first, last=last):
            begin = first % len(data)
            end = len(data) - 1 if last is None else last
            answer = (await repository.get(f"blobs/{name}", Range=header)).expect(206)
            assert answer.headers["Content-Range"] == f"bytes {begin}-{end}/{len(data)}"
            assert answer.body == data[begin : end + 1]
            assert answer.headers["Docker-Content-Digest"] == name


async def test_every_boundary_of_a_chunked_blob(repository: Repository) -> None:
    name = await repository.push_blob(LARGE)
    for first in (0, 1, 262_143, 262_144, 1_048_575, 1_048_576, 2_500_000, len(LARGE) - 2):
        last = min(first + 700_000, len(LARGE) - 1)
        answer = await repository.get(f"blobs/{name}", Range=f"bytes={first}-{last}")
        assert answer.expect(206).body == LARGE[first : last + 1]


async def test_ranges_nothing_can_satisfy(
    repository: Repository, subtests: pytest.Subtests
) -> None:
    name = await repository.push_blob(SMALL)
    for header in ("bytes=500-0", "bytes=5000-10000", "bytes=2048-", "bytes=-0"):
        with subtests.test(header=header):
            answer = (await repository.get(f"blobs/{name}", Range=header)).expect(
                416, "RANGE_INVALID"
            )
            assert answer.headers["Content-Range"] == "bytes */2048"


async def test_ranges_that_are_ignored(repository: Repository, subtests: pytest.Subtests) -> None:
    name = await repository.push_blob(SMALL)
    for header in (
        "lines=0-9",
        "bytes=a-b",
        "bytes=1_0-20",
        "bytes=0-9,5-20",
        "bytes=",
        "bytes=0-,0-,0-",
    ):
        with subtests.test(header=header):
            assert (await repository.get(f"blobs/{name}", Range=header)).expect(200).body == SMALL


async def test_a_range_of_nothing_is_nothing(repository: Repository) -> None:
    """As containerd asks, which does not know the size."""
    name = await repository.push_blob(b"")
    assert (await repository.get(f"blobs/{name}", Range="bytes=0-")).expect(200).body == b""


def parts_of(answer: Answer) -> list[tuple[str, bytes]]:
    """Read multipart/byteranges with the standard library's parser."""
    head = b"Content-Type: " + answer.headers["Content-Type"].encode() + b"\r\n\r\n"
    parts = message_from_bytes(head + answer.body).get_payload()
    assert isinstance(parts, list)
    found = []
    for part in parts:
        assert isinstance(part, Message)
        assert part["Content-Type"] == "application/octet-stream"
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        found.append((str(part["Content-Range"]), content))
    return found


async def test_no_two_answers_are_told_apart_alike(repository: Repository) -> None:
    """Nobody can push a blob that has the next answer's boundary in it."""
    name = await repository.push_blob(LARGE)
    answers = [await repository.get(f"blobs/{name}", Range="bytes=0-9,20-29") for _ in range(5)]
    boundaries = {answer.headers["Content-Type"].partition("=")[2] for answer in answers}
    assert len(boundaries) == 5
    assert all(len(boundary) >= 32 for boundary in boundaries)
    assert all(parts_of(answer) == parts_of(answers[0]) for answer in answers)


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["inline", "chunked"])
async def test_several_ranges_come_as_parts_in_their_order(
    repository: Repository, data: bytes
) -> None:
    name = await repository.push_blob(data)
    size = len(data)
    answer = await repository.get(f"blobs/{name}", Range="bytes=1000-1099, 0-9,20-20,-5,99999999-")
    answer.expect(206)
    assert answer.headers["Content-Type"].startswith("multipart/byteranges; boundary=")
    assert "Content-Range" not in answer.headers
    assert [(spelled, part) for spelled, part in parts_of(answer)] == [
        (f"bytes 1000-1099/{size}", data[1000:1100]),
        (f"bytes 0-9/{size}", data[:10]),
        (f"bytes 20-20/{size}", data[20:21]),
        (f"bytes {size - 5}-{size - 1}/{size}", data[-5:]),
    ]


async def test_1024_parts_and_no_more(repository: Repository) -> None:
    name = await repository.push_blob(LARGE)
    words = [f"{step}-{step + 9}" for step in range(0, 3000 * 1024, 3000)]
    headers = {"Range": "bytes=" + ",".join(words)}
    answer = (await repository.request("GET", f"blobs/{name}", headers=headers)).expect(206)
    assert [part for _, part in parts_of(answer)] == [
        LARGE[step : step + 10] for step in range(0, 3000 * 1024, 3000)
    ]
    headers = {"Range": "bytes=" + ",".join(f"{2 * step}-{2 * step}" for step in range(1025))}
    answer = await repository.request("GET", f"blobs/{name}", headers=headers)
    assert answer.expect(200).body == LARGE


async def test_a_range_of_another_blob_is_ignored(repository: Repository) -> None:
    name = await repository.push_blob(SMALL)
    headers = {"Range": "bytes=0-9", "If-Range": f'"{name}"'}
    (await repository.request("GET", f"blobs/{name}", headers=headers)).expect(206)
    headers["If-Range"] = f'"{NEVER_PUSHED}"'
    answer = await repository.request("GET", f"blobs/{name}", headers=headers)
    assert answer.expect(200).body == SMALL


async def test_nothing_is_compressed_for_the_way(repository: Repository) -> None:
    name = await repository.push_blob(b"a" * 10_000)
    headers = {"Accept-Encoding": "zstd,gzip,deflate"}
    answer = await repository.request("GET", f"blobs/{name}", headers=headers)
    assert answer.expect(200).body == b"a" * 10_000


async def test_unknown_blobs(repository: Repository) -> None:
    await repository.push_blob(b"x")
    (await repository.get(f"blobs/{NEVER_PUSHED}")).expect(404, "BLOB_UNKNOWN")
    (await repository.head(f"blobs/{NEVER_PUSHED}")).expect(404)
    (await repository.delete(f"blobs/{NEVER_PUSHED}")).expect(404, "BLOB_UNKNOWN")
    for name in ("sha512:" + "0" * 128, "sha1:" + "0" * 40, "blake3:" + "0" * 64):
        (await repository.get(f"blobs/{name}")).expect(404, "BLOB_UNKNOWN")
        (await repository.head(f"blobs/{name}")).expect(404)
        (await repository.delete(f"blobs/{name}")).expect(404, "BLOB_UNKNOWN")


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
async def test_what_is_no_digest(
    repository: Repository, method: str, subtests: pytest.Subtests
) -> None:
    for bad in ("sha256:baddigeststring", "sha256:" + "A" * 64, "latest", "sha1:" + "a" * 20):
        with subtests.test(bad=bad):
            answer = await repository.request(method, f"blobs/{bad}")
            answer.expect(400, None if method == "HEAD" else "DIGEST_INVALID")


async def test_deletion_is_seen_at_once_and_elsewhere_not(alice: Client) -> None:
    first, second = alice.repository("alice/first"), alice.repository("alice/second")
    name = await first.push_blob(LARGE)
    await second.push_blob(LARGE)
    (await first.delete(f"blobs/{name}")).expect(202)
    (await first.head(f"blobs/{name}")).expect(404)
    (await first.get(f"blobs/{name}")).expect(404, "BLOB_UNKNOWN")
    (await first.delete(f"blobs/{name}")).expect(404, "BLOB_UNKNOWN")
    assert (await second.get(f"blobs/{name}")).expect(200).body == LARGE
    (await first.head(f"blobs/{name}")).expect(404)
    await first.push_blob(LARGE)
    assert (await first.get(f"blobs/{name}")).expect(200).body == LARGE


async def test_a_blob_belongs_to_the_repositories_it_was_pushed_to(alice: Client) -> None:
    """Knowing a digest opens nothing (zot, CVE-2024-39897)."""
    await alice.repository("alice/one").push_blob(SMALL)
    other = alice.repository("alice/two")
    (await other.head(f"blobs/{digest(SMALL)}")).expect(404)
    (await other.get(f"blobs/{digest(SMALL)}")).expect(404, "BLOB_UNKNOWN")


async def test_many_parts_decode_the_recipe_once(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to 1,024 parts are asked for at once; decoding a large recipe takes milliseconds."""
    decoded: list[bytes] = []

    def counted(data: bytes) -> Recipe:
        decoded.append(data)
        return decode(data)

    monkeypatch.setattr("treescale.registry.pull.decode", counted)
    name = await repository.push_blob(LARGE)
    answer = await repository.get(f"blobs/{name}", Range="bytes=0-1,5-6,2000000-2000001")
    assert answer.expect(206).headers["Content-Type"].startswith("multipart/byteranges")
    assert len(decoded) == 1


async def test_a_method_that_is_not_offered_names_those_that_are(alice: Client) -> None:
    answer = await alice.repository("alice/app").request("PUT", "tags/list")
    assert answer.expect(405, "UNSUPPORTED").headers["Allow"] == "GET"

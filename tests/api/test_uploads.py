"""Uploads: every way to push a blob, and everything that goes wrong on the way."""

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
from multidict import CIMultiDict

from tests.api.client import Answer, Client, Repository
from tests.oci.documents import digest
from tests.tables import each_row

DATA = hashlib.shake_256(b"data").digest(2_048_000)
"""2 MB that do not compress: several chunks."""
HALF = 1_000_000
OCTETS = {"Content-Type": "application/octet-stream"}


@pytest.fixture
def repository(alice: Client) -> Repository:
    return alice.repository("alice/app")


async def stream(data: bytes, piece: int = 100_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), piece):
        yield data[start : start + piece]


async def patch(repository: Repository, location: str, data: bytes, first: int) -> Answer:
    headers = {**OCTETS, "Content-Range": f"{first}-{first + len(data) - 1}"}
    return await repository.request("PATCH", location, headers=headers, data=data)


async def expect_offset(repository: Repository, location: str, offset: int) -> None:
    """Check what the session says of itself, with and without a digest in its URL."""
    path = urlsplit(location).path
    for url in (path, f"{path}?digest={digest(DATA)}"):
        answer = (await repository.get(url)).expect(204)
        assert answer.headers["Range"] == f"0-{max(0, offset - 1)}"
        assert urlsplit(answer.headers["Location"]).path == path
        assert answer.headers["Docker-Upload-UUID"] == path.rpartition("/")[2]


async def finish(repository: Repository, location: str, data: bytes = b"") -> None:
    """End the upload of DATA with these last bytes and read the blob back."""
    answer = await repository.request("PUT", f"{location}?digest={digest(DATA)}", data=data)
    await expect_created(repository, answer, DATA)


async def expect_created(
    repository: Repository, answer: Answer, data: bytes, algorithm: str = "sha256"
) -> None:
    name = f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
    answer.expect(201)
    assert answer.headers["Location"] == f"/v2/{repository.name}/blobs/{name}"
    if "Docker-Upload-UUID" in answer.headers:
        assert answer.headers["Range"] == f"0-{max(0, len(data) - 1)}"
    assert answer.headers["Docker-Content-Digest"] == name
    assert answer.headers["Content-Length"] == "0"
    assert (await repository.get(answer.headers["Location"])).expect(200).body == data


async def test_a_new_session_says_where_to_continue(repository: Repository) -> None:
    for path in ("blobs/uploads/", "blobs/uploads"):
        answer = (await repository.request("POST", path)).expect(202)
        assert answer.headers["Range"] == "0-0"
        assert answer.headers["Content-Length"] == "0"
        identifier = answer.headers["Docker-Upload-UUID"]
        location = urlsplit(answer.headers["Location"])
        assert location.path == f"/v2/alice/app/blobs/uploads/{identifier}"
        await expect_offset(repository, location.path, 0)


every_blob = each_row(
    "data, algorithm", itertools.product([b"", b"{}", DATA], ["sha256", "sha512"])
)


class TestWaysToPush:
    def name(self, data: bytes, algorithm: str) -> str:
        return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"

    @every_blob
    async def test_one_post(self, repository: Repository, data: bytes, algorithm: str) -> None:
        query = f"blobs/uploads/?digest={self.name(data, algorithm)}"
        answer = await repository.request("POST", query, headers=OCTETS, data=data)
        await expect_created(repository, answer, data, algorithm)

    @every_blob
    @each_row("announced", [True, False])
    async def test_post_and_put(
        self, repository: Repository, data: bytes, algorithm: str, *, announced: bool
    ) -> None:
        query = f"?digest-algorithm={algorithm}" if announced else ""
        location = await repository.start_upload(query)
        url = f"{location}?digest={self.name(data, algorithm)}"
        answer = await repository.request("PUT", url, headers=OCTETS, data=data)
        await expect_created(repository, answer, data, algorithm)

    @every_blob
    @each_row("announced", [True, False])
    async def test_a_stream_without_length(
        self, repository: Repository, data: bytes, algorithm: str, *, announced: bool
    ) -> None:
        """As dockerd does: PATCH chunked, no type, no range, then an empty PUT."""
        query = f"?digest-algorithm={algorithm}" if announced else ""
        location = await repository.start_upload(query)
        answer = (await repository.request("PATCH", location, data=stream(data))).expect(202)
        assert answer.headers["Range"] == f"0-{max(0, len(data) - 1)}"
        url = f"{answer.headers['Location']}?digest={self.name(data, algorithm)}"
        answer = await repository.request("PUT", url, data=b"")
        await expect_created(repository, answer, data, algorithm)

    @every_blob
    async def test_a_put_without_length(
        self, repository: Repository, data: bytes, algorithm: str
    ) -> None:
        location = await repository.start_upload()
        url = f"{location}?digest={self.name(data, algorithm)}"
        answer = await repository.request("PUT", url, data=stream(data))
        await expect_created(repository, answer, data, algorithm)


class TestChunks:
    async def test_one_chunk(self, repository: Repository) -> None:
        location = await repository.start_upload()
        answer = (await patch(repository, location, DATA, 0)).expect(202)
        assert answer.headers["Range"] == f"0-{len(DATA) - 1}"
        await finish(repository, answer.headers["Location"])

    async def test_many_chunks(self, repository: Repository) -> None:
        location = await repository.start_upload()
        for first in range(0, len(DATA), 300_001):
            chunk = DATA[first : first + 300_001]
            answer = (await patch(repository, location, chunk, first)).expect(202)
            location = answer.headers["Location"]
            assert answer.headers["Range"] == f"0-{first + len(chunk) - 1}"
            await expect_offset(repository, location, first + len(chunk))
        await finish(repository, location)

    async def test_a_hundred_tiny_chunks(self, repository: Repository) -> None:
        location = await repository.start_upload()
        data = DATA[:1000]
        for first in range(0, 1000, 10):
            (await patch(repository, location, data[first : first + 10], first)).expect(202)
        url = f"{location}?digest={digest(data)}"
        await expect_created(repository, await repository.request("PUT", url), data)

    @pytest.mark.parametrize("ranged", [True, False])
    async def test_the_last_chunk_in_the_put(self, repository: Repository, *, ranged: bool) -> None:
        location = await repository.start_upload()
        (await patch(repository, location, DATA[:HALF], 0)).expect(202)
        headers = {"Content-Range": f"{HALF}-{len(DATA) - 1}"} if ranged else {}
        url = f"{location}?digest={digest(DATA)}"
        answer = await repository.request("PUT", url, headers=headers, data=DATA[HALF:])
        await expect_created(repository, answer, DATA)

    async def test_chunks_without_ranges_are_appended(self, repository: Repository) -> None:
        """As the .NET SDK does."""
        location = await repository.start_upload()
        for part in (DATA[:HALF], DATA[HALF:]):
            (await repository.request("PATCH", location, headers=OCTETS, data=part)).expect(202)
        await finish(repository, location)

    async def test_http_spelling_of_the_range(self, repository: Repository) -> None:
        location = await repository.start_upload()
        headers = {"Content-Range": f"bytes 0-{HALF - 1}/{len(DATA)}"}
        answer = await repository.request("PATCH", location, headers=headers, data=DATA[:HALF])
        answer.expect(202)
        await finish(repository, location, DATA[HALF:])

    async def test_an_empty_chunk_changes_nothing(self, repository: Repository) -> None:
        location = await repository.start_upload()
        (await repository.request("PATCH", location, headers=OCTETS, data=b"")).expect(202)
        await expect_offset(repository, location, 0)
        await finish(repository, location, DATA)


class TestOutOfOrder:
    @pytest.mark.parametrize("first", [0, HALF - 1, HALF + 1, 2**62])
    async def test_the_session_survives(self, repository: Repository, first: int) -> None:
        location = await repository.start_upload()
        (await patch(repository, location, DATA[:HALF], 0)).expect(202)
        answer = (await patch(repository, location, DATA[HALF:], first)).expect(416)
        assert answer.headers["Range"] == f"0-{HALF - 1}"
        assert urlsplit(answer.headers["Location"]).path == location
        await expect_offset(repository, location, HALF)
        (await patch(repository, answer.headers["Location"], DATA[HALF:], HALF)).expect(202)
        await finish(repository, location)

    async def test_also_in_the_put(self, repository: Repository) -> None:
        location = await repository.start_upload()
        (await patch(repository, location, DATA[:HALF], 0)).expect(202)
        url = f"{location}?digest={digest(DATA)}"
        headers = {"Content-Range": f"{HALF + 5}-{len(DATA) + 4}"}
        answer = await repository.request("PUT", url, headers=headers, data=DATA[HALF:])
        answer.expect(416)
        assert answer.headers["Range"] == f"0-{HALF - 1}"
        await expect_offset(repository, location, HALF)
        await finish(repository, location, DATA[HALF:])

    async def test_a_first_chunk_that_is_not_the_first(self, repository: Repository) -> None:
        location = await repository.start_upload()
        answer = (await patch(repository, location, DATA[HALF:], HALF)).expect(416)
        assert answer.headers["Range"] == "0-0"
        await finish(repository, location, DATA)

    @each_row(
        ("text", "status", "code"),
        [
            ("5-4", 416, "RANGE_INVALID"),
            ("0-", 416, "RANGE_INVALID"),
            ("-5", 416, "RANGE_INVALID"),
            ("0-18446744073709551615", 416, "RANGE_INVALID"),
            ("1_0-2_0", 416, "RANGE_INVALID"),
            ("bytes 0-1999999/5", 416, "RANGE_INVALID"),
            ("0-0", 400, "SIZE_INVALID"),
            ("0-99", 400, "SIZE_INVALID"),
        ],
    )
    async def test_ranges_that_are_none(
        self, repository: Repository, text: str, status: int, code: str
    ) -> None:
        location = await repository.start_upload()
        headers = {"Content-Range": text}
        answer = await repository.request("PATCH", location, headers=headers, data=DATA)
        answer.expect(status, code)
        assert answer.headers["Docker-Upload-UUID"] in answer.headers["Location"]
        assert answer.headers["Range"] == "0-0"
        await expect_offset(repository, location, 0)
        await finish(repository, location, DATA)

    async def test_two_ranges_for_one_body(self, repository: Repository) -> None:
        """It is no request at all: aiohttp's parser refuses it."""
        location = await repository.start_upload()
        for second in ("0-4", "5-9"):
            token = await repository.client.token(f"repository:{repository.name}:pull,push")
            headers = CIMultiDict(Authorization=f"Bearer {token}")
            for text in ("0-4", second):
                headers.add("Content-Range", text)
            answer = await repository.client.raw("PATCH", location, headers, b"01234")
            answer.expect(400, "UNSUPPORTED")
        await expect_offset(repository, location, 0)

    @pytest.mark.parametrize("text", ["nonsense", "0-99", "0-", "5-4"])
    async def test_a_session_that_is_not_there(self, repository: Repository, text: str) -> None:
        """It is said so, whatever else is wrong, and nothing is said of where it continues."""
        path = "blobs/uploads/" + "0" * 32
        for query in ("", f"?digest={digest(DATA)}"):
            method = "PUT" if query else "PATCH"
            headers = {"Content-Range": text}
            answer = await repository.request(method, path + query, headers=headers, data=b"x")
            answer.expect(404, "BLOB_UPLOAD_UNKNOWN")
            assert "Range" not in answer.headers

    async def test_a_chunk_sent_twice_is_there_once(self, repository: Repository) -> None:
        """As by a client that lost the answer."""
        location = await repository.start_upload()
        for first, data in ((0, DATA[:HALF]), (HALF, DATA[HALF:])):
            (await patch(repository, location, data, first)).expect(202)
            for _ in range(2):
                answer = (await patch(repository, location, data, first)).expect(416)
                assert answer.headers["Range"] == f"0-{first + len(data) - 1}"
        await finish(repository, location)

    async def test_of_four_that_send_one_chunk_at_once_one_adds_it(
        self, repository: Repository
    ) -> None:
        location = await repository.start_upload()
        (await patch(repository, location, DATA[:HALF], 0)).expect(202)
        answers = await asyncio.gather(
            *[patch(repository, location, DATA[HALF:], HALF) for _ in range(4)]
        )
        assert sorted(answer.status for answer in answers) == [202, 416, 416, 416]
        assert {answer.headers["Range"] for answer in answers} == {f"0-{len(DATA) - 1}"}
        await finish(repository, location)


@pytest.mark.parametrize("length", [1, HALF - 1, HALF + 1, 2**40], ids=str)
class TestBodiesThatContradictTheirRange:
    """Without a Content-Length only the end of the body tells."""

    async def test_nothing_is_added(self, repository: Repository, length: int) -> None:
        location = await repository.start_upload()
        (await patch(repository, location, DATA[:10], 0)).expect(202)
        headers = {**OCTETS, "Content-Range": f"10-{10 + length - 1}"}
        for piece in (1000, HALF):
            body = stream(DATA[10 : 10 + HALF], piece)
            answer = await repository.request("PATCH", location, headers=headers, data=body)
            answer.expect(400, "SIZE_INVALID")
            assert answer.headers["Range"] == "0-9"
            assert answer.headers["Location"] == location
        await expect_offset(repository, location, 10)
        await finish(repository, location, DATA[10:])

    async def test_also_in_the_put(self, repository: Repository, length: int) -> None:
        location = await repository.start_upload()
        url = f"{location}?digest={digest(DATA[:HALF])}"
        headers = {"Content-Range": f"0-{length - 1}"}
        for body in (stream(DATA[:HALF]), stream(b"")):
            answer = await repository.request("PUT", url, headers=headers, data=body)
            answer.expect(400, "SIZE_INVALID")
            assert answer.headers["Range"] == "0-0"
        (await repository.head(f"blobs/{digest(DATA[:HALF])}")).expect(404)
        await finish(repository, location, DATA)


class TestEndings:
    @pytest.mark.parametrize("data", [b"x", DATA], ids=["inline", "chunked"])
    async def test_a_wrong_digest_makes_no_blob(self, repository: Repository, data: bytes) -> None:
        wrong = digest(b"something else")
        location = await repository.start_upload()
        answer = await repository.request("PUT", f"{location}?digest={wrong}", data=data)
        answer.expect(400, "DIGEST_INVALID")
        answer = await repository.request("POST", f"blobs/uploads/?digest={wrong}", data=data)
        answer.expect(400, "DIGEST_INVALID")
        for name in (wrong, digest(data)):
            (await repository.head(f"blobs/{name}")).expect(404)

    @each_row("query", ["", "?digest=", "?digest=sha1:" + "a" * 40, "?digest=sha256:" + "A" * 64])
    async def test_what_is_no_digest(self, repository: Repository, query: str) -> None:
        location = await repository.start_upload()
        answer = await repository.request("PUT", location + query, data=DATA)
        answer.expect(400, "DIGEST_INVALID")
        await finish(repository, location, DATA)

    async def test_an_algorithm_nobody_offers(self, repository: Repository) -> None:
        answer = await repository.request("POST", "blobs/uploads/?digest-algorithm=md5")
        answer.expect(400, "DIGEST_INVALID")

    async def test_cancel(self, repository: Repository) -> None:
        location = await repository.start_upload()
        (await patch(repository, location, DATA[:HALF], 0)).expect(202)
        (await repository.delete(location)).expect(204)
        for method in ("GET", "PATCH", "PUT", "DELETE"):
            url = f"{location}?digest={digest(DATA)}"
            answer = await repository.request(method, url, data=None)
            answer.expect(404, "BLOB_UPLOAD_UNKNOWN")

    async def test_a_finished_upload_is_over(self, repository: Repository) -> None:
        location = await repository.start_upload()
        await finish(repository, location, DATA)
        (await patch(repository, location, DATA, 0)).expect(404, "BLOB_UPLOAD_UNKNOWN")
        (await repository.get(location)).expect(404, "BLOB_UPLOAD_UNKNOWN")

    @each_row("identifier", ["nothing", "0" * 32, "..%00", "%2e%2e", "a" * 200])
    async def test_unknown_uploads(self, repository: Repository, identifier: str) -> None:
        for method in ("GET", "PATCH", "DELETE"):
            answer = await repository.request(method, f"blobs/uploads/{identifier}")
            assert answer.status in (400, 404)


async def test_a_broken_connection_loses_nothing_that_arrived(
    repository: Repository, alice: Client
) -> None:
    location = await repository.start_upload()
    token = await alice.token("repository:alice/app:pull,push")
    address = urlsplit(alice.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    head = (
        f"PATCH {location} HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Length: {len(DATA)}\r\n\r\n"
    )
    writer.write(head.encode() + DATA[:HALF])
    await writer.drain()
    writer.write_eof()
    await reader.read()  # the server is done with this connection
    writer.close()
    offset = await offset_once_known(repository, location)
    assert 0 < offset <= HALF
    (await patch(repository, location, DATA[offset:], offset)).expect(202)
    await finish(repository, location)


async def offset_once_known(repository: Repository, location: str) -> int:
    """Ask the session until it has heard of the broken request."""
    async with asyncio.timeout(20):
        while True:
            answer = (await repository.get(location)).expect(204)
            last = int(answer.headers["Range"].removeprefix("0-"))
            if last:
                return last + 1


async def test_a_body_that_ends_early_makes_no_blob(repository: Repository, alice: Client) -> None:
    location = await repository.start_upload()
    token = await alice.token("repository:alice/app:pull,push")
    address = urlsplit(alice.url)
    for length in ("Content-Length: 100", "Transfer-Encoding: chunked"):
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        head = (
            f"PUT {location}?digest={digest(b'abc')} HTTP/1.1\r\nHost: {address.netloc}\r\n"
            f"Authorization: Bearer {token}\r\n{length}\r\n\r\n"
        )
        body = b"abc" if "Length" in length else b"3\r\nabc\r\n"
        writer.write(head.encode() + body)
        writer.write_eof()
        assert b" 201 " not in await reader.read()
        writer.close()
        (await repository.head(f"blobs/{digest(b'abc')}")).expect(404)


async def test_a_compressed_body_is_refused(repository: Repository) -> None:
    location = await repository.start_upload()
    headers = {"Content-Encoding": "gzip"}
    (await repository.request("PATCH", location, headers=headers, data=b"x")).expect(415)


async def test_expect_100_continue(repository: Repository, alice: Client) -> None:
    """The body is asked for only when nothing refuses it (curl sends this header)."""
    location = await repository.start_upload()
    token = await alice.token("repository:alice/app:pull,push")
    address = urlsplit(alice.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    head = (
        f"PUT {location}?digest={digest(DATA)} HTTP/1.1\r\nHost: {address.netloc}\r\n"
        f"Authorization: Bearer {token}\r\nContent-Length: {len(DATA)}\r\n"
        "Connection: close\r\nExpect: 100-continue\r\n\r\n"
    )
    writer.write(head.encode())
    async with asyncio.timeout(20):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(DATA)
        assert (await reader.readline()).startswith(b"HTTP/1.1 201 ")
    writer.close()

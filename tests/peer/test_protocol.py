"""What is written on the wire is read from it again, and nothing else is."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from tests.tables import each_row
from treescale.chunks.store import CHUNK_BYTES_MAX, chunk_id_of
from treescale.errors import (
    BlobUnknown,
    BodyIncomplete,
    ChunkUnknown,
    Corrupt,
    Refused,
    RequestInvalid,
    StoreFull,
    StoreUnusable,
    TooLarge,
    TooMany,
    Unauthorized,
    Unreachable,
    Unsupported,
)
from treescale.peer.protocol import (
    ANSWER_HEADER,
    BODY_BYTES_MAX,
    ERRORS,
    PREFIX,
    REQUEST_HEADER,
    SMALL_BYTES_MAX,
    Action,
    PeerRequest,
    Received,
    read_bits,
    read_error,
    read_head,
    read_ids,
    read_partitions,
    read_request,
    write_bits,
    write_error,
    write_partitions,
    write_request,
)
from treescale.peer.signing import NO_BODY, PeerKeys, Signer, authenticate, body_digest

FORMATS = (Path(__file__).parents[2] / "docs/formats.md").read_text()
CHUNK = chunk_id_of(b"")
HEX = CHUNK.hex()


def uses(action: Action, field: str) -> bool:
    return f"{{{field}}}" in action.value[1]


@some.composite
def targets(draw: some.DrawFn) -> PeerRequest:
    action = draw(some.sampled_from(Action))
    store = draw(some.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True))
    chunk = draw(some.binary(min_size=32, max_size=32))
    size = draw(some.integers(0, 9_999_999_999))
    return PeerRequest(
        action,
        store if uses(action, "store") else "",
        chunk if uses(action, "chunk") else b"",
        size if uses(action, "size") else 0,
    )


@given(targets())
def test_a_target_is_read_as_it_was_written(target: PeerRequest) -> None:
    assert read_request(target.action.method, target.path) == target


@each_row(
    "path",
    [
        "/peer/v1",
        "/peer/v1/",
        "/peer/v2/ping",
        "/peer/v1/ping/",
        "/peer/v1/ping?x=1",
        "/peer/v1/ping#x",
        "//peer/v1/ping",
        "/peer/v1/../v1/ping",
        "http://b/peer/v1/ping",
        f"/peer/v1/stores//chunks/{HEX}",
        f"/peer/v1/stores/../chunks/{HEX}",
        f"/peer/v1/stores/a%2fb/chunks/{HEX}",
        f"/peer/v1/stores/a/b/chunks/{HEX}",
        f"/peer/v1/stores/{'a' * 65}/chunks/{HEX}",
        f"/peer/v1/stores/a/chunks/{HEX}\n",
        f"/peer/v1/stores/a/chunks/{HEX.upper()}",
        f"/peer/v1/stores/a/chunks/{HEX[:-1]}",
        f"/peer/v1/stores/a/chunks/{HEX}0",
        f"/peer/v1/stores/a/chunks/{HEX[:-2]}%30",
        f"/peer/v1/stores/a/chunks/..%2f{HEX}",
        "/peer/v1/stores/a/chunks/" + "\u0660" * 64,
        "/peer/v1/stores/a/reserve/-1",
        "/peer/v1/stores/a/reserve/1e9",
        "/peer/v1/stores/a/reserve/10000000000",
        "/peer/v1/stores/a/reserve/\u0661",
        "/peer/v1/stores/a/list?partition=1",
        "*",
        "",
    ],
)
@each_row("method", ["GET", "PUT", "POST", "DELETE"])
def test_other_paths_are_none(method: str, path: str) -> None:
    with pytest.raises(RequestInvalid):
        read_request(method, path)


def test_other_methods_are_refused_with_those_there_are() -> None:
    with pytest.raises(Unsupported, match="use PUT or GET here") as refused:
        read_request("PATCH", PeerRequest(Action.GET, "a", CHUNK).path)
    assert refused.value.allowed == ("PUT", "GET")


@each_row(
    ("error", "name", "status", "told"),
    [
        (ChunkUnknown("m"), "ChunkUnknown", 404, ChunkUnknown),
        (Corrupt("m"), "Corrupt", 422, Corrupt),
        (StoreFull("m"), "StoreFull", 507, StoreFull),
        (StoreUnusable("m"), "StoreUnusable", 503, StoreUnusable),
        (Unreachable("m"), "Late", 504, Unreachable),
        (TooMany("m"), "Busy", 503, Unreachable),
        (Unauthorized("m"), "NotTrusted", 401, Unreachable),
        (TooLarge("m"), "TooLarge", 413, Unreachable),
        (Unsupported("m"), "Unsupported", 405, Unreachable),
        (BodyIncomplete("m"), "Invalid", 400, Unreachable),
        (BlobUnknown("m"), "Invalid", 400, Unreachable),
        (Refused("m"), "Invalid", 400, Unreachable),
    ],
)
def test_errors_keep_their_meaning(
    error: Exception, name: str, status: int, told: type[Exception]
) -> None:
    found, body = write_error(error)
    assert (found, body) == (status, f'{{"error":"{name}","message":"m"}}'.encode())
    read = read_error("b", found, body)
    assert type(read) is told
    assert str(read) == "server b: m"


def test_what_nobody_foresaw_tells_nothing() -> None:
    status, body = write_error(KeyError("a secret"))
    assert status == 500
    assert b"secret" not in body
    assert isinstance(read_error("b", status, body), Unreachable)


@given(some.integers(100, 999), some.binary(max_size=200))
def test_any_error_body_is_an_error_of_ours(status: int, body: bytes) -> None:
    assert isinstance(read_error("b", status, body), Exception)


def test_a_long_message_is_cut() -> None:
    _, body = write_error(StoreFull("x" * 100_000))
    assert len(body) < 1000
    long = b'{"error":"StoreFull","message":"%s"}' % (b"y" * 100_000)
    assert len(str(read_error("b", 507, long))) < 1000


@given(some.lists(some.booleans(), max_size=100))
def test_bits_are_read_as_they_were_written(flags: list[bool]) -> None:
    data = write_bits(flags)
    assert read_bits(data, len(flags)) == flags
    for length in (len(data) - 1, len(data) + 1):
        if length >= 0:
            with pytest.raises(ValueError, match="cannot answer"):
                read_bits(bytes(length), len(flags))


def test_the_first_flag_is_the_highest_bit() -> None:
    assert write_bits([True] + [False] * 8 + [True]) == b"\x80\x40"


def test_ids_come_whole() -> None:
    assert read_ids(b"a" * 32 + b"b" * 32) == [b"a" * 32, b"b" * 32]
    assert read_ids(b"") == []
    with pytest.raises(ValueError, match="pieces of 32"):
        read_ids(bytes(33))


@given(some.lists(some.integers(0, 4095), min_size=1, max_size=16))
def test_partitions_are_read_as_they_were_written(partitions: list[int]) -> None:
    assert read_partitions(write_partitions(partitions)) == partitions


@each_row("body", [b"", b"\0", b"\x10\x00", b"\0\0\0"])
def test_other_partitions_are_none(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"partitions are|pieces of 2"):
        read_partitions(body)


def test_a_head_is_read_without_an_http_library() -> None:
    head = (
        b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 12\r\n"
        b"TreeScale-Answer: " + b"a" * 64 + b"\r\nContent-Type: x\r\n\r\n"
    )
    assert read_head(head) == (200, 12, "a" * 64, False)
    assert read_head(b"HTTP/1.1 503 \r\ncontent-length:0\r\n\r\n") == (503, 0, None, False)


@each_row(
    ("line", "closes"),
    [
        (b"Connection: close", True),
        (b"connection:Close", True),
        (b"Connection: keep-alive", False),
        (b"X-Connection: close", False),
        (b"Connection: close-by", False),
    ],
)
def test_a_head_says_whether_its_connection_ends(line: bytes, *, closes: bool) -> None:
    head = b"HTTP/1.1 200 OK\r\n" + line + b"\r\nContent-Length: 1\r\n\r\n"
    assert read_head(head).closes is closes


def test_a_good_answer_may_be_long_and_an_error_may_not() -> None:
    long = f"{SMALL_BYTES_MAX + 1}".encode()
    assert read_head(b"HTTP/1.1 200 OK\r\nContent-Length: " + long + b"\r\n\r\n", 10_000).length
    with pytest.raises(ValueError, match="not an answer"):
        read_head(b"HTTP/1.1 503 No\r\nContent-Length: " + long + b"\r\n\r\n", 10_000)


def signer(key: bytes = b"k") -> Signer:
    return Signer("a", "b", lambda: PeerKeys(key * 32), lambda: 1.0, lambda: "0" * 32)


@each_row("body", [b"", b"\0" * 32])
@each_row("action", Action)
def test_what_is_written_is_read_as_it_was_meant(action: Action, body: bytes) -> None:
    asked = PeerRequest(action, "disk", b"\1" * 32, 7)
    body = b"" if action.method == "GET" else body
    sent = write_request(signer(), asked, "[::1]:5000", body, deadline_ms=900)
    first, *lines, empty, end = sent.head.decode().split("\r\n")
    headers = dict(line.split(": ") for line in lines)
    method, path, _ = first.split()
    assert read_request(method, path).action is action
    assert headers.pop("Host") == "[::1]:5000"
    assert headers.pop("Content-Length", None) == (None if method == "GET" else str(len(body)))
    signature = headers.pop("TreeScale-Request")
    found = authenticate(PeerKeys(b"k" * 32), method, path, len(body), signature)
    assert found.body == (NO_BODY if action is Action.PUT else body_digest(body))
    assert (found.sender, found.addressee, found.deadline_ms) == ("a", "b", 900)
    assert (headers, empty, end) == ({}, "", "")


def test_an_answer_is_the_signed_one_to_this_request() -> None:
    have, get = PeerRequest(Action.HAVE, "disk"), PeerRequest(Action.GET, "disk", b"\1" * 32)
    sent = write_request(signer(), have, "b", deadline_ms=1)
    with pytest.raises(Unreachable, match=r"says 401: .*no such key"):
        sent.check(Received(401, None, b'{"error":"NotTrusted","message":"no such key"}'))
    for asked, digest in ((have, body_digest(b"yes")), (get, NO_BODY)):
        sent = write_request(signer(), asked, "b", deadline_ms=1)
        other = write_request(signer(b"f"), asked, "b", deadline_ms=1)
        read = authenticate(
            PeerKeys(b"k" * 32), asked.action.method, asked.path, 0, sent.signed.header
        )
        signature = read.sign_answer(200, 3, digest)
        sent.check(Received(200, signature, b"yes"))
        for wrong in (
            Received(201, signature, b"yes"),
            Received(200, signature, b"yes!"),
            Received(200, None, b"yes"),
        ):
            with pytest.raises(Unreachable, match="has not this cluster's key"):
                sent.check(wrong)
        with pytest.raises(Unreachable):
            other.check(Received(200, signature, b"yes"))


@each_row(
    "head",
    [
        b"",
        b"\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    ],
)
def test_other_heads_are_none(head: bytes) -> None:
    with pytest.raises(ValueError, match="not an answer"):
        read_head(head)


def test_no_body_is_longer_than_a_chunk() -> None:
    assert max(BODY_BYTES_MAX.values()) == CHUNK_BYTES_MAX


@each_row("action", Action)
def test_every_action_is_documented(action: Action) -> None:
    _, template = action.value
    assert f"| {action.method} `{template}`" in FORMATS


@each_row(("name", "status"), [(name, status) for name, _, status in ERRORS])
def test_every_error_is_documented(name: str, status: int) -> None:
    assert f"| `{name}` | {int(status)} |" in FORMATS


@pytest.mark.parametrize("word", [PREFIX, REQUEST_HEADER, ANSWER_HEADER])
def test_every_word_is_documented(word: str) -> None:
    assert f"`{word}`" in FORMATS

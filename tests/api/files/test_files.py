"""Blobs over HTTP out of real chunk files, as servers run.

The first read hashes, the later ones trust: each is compared with the pushed bytes, and the calls
to the disk tell which way they went.
"""

import asyncio
import hashlib
import os
from asyncio import StreamReader
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.api.client import Repository
from tests.api.files.serving import Asking, Served
from tests.api.test_blobs import parts_of

pytestmark = pytest.mark.long  # megabytes by disk and by wire, plain and encrypted

SMALL: Final = b"".join(hashlib.sha256(bytes([one])).digest() for one in range(200)) * 16
"""100 kB: one chunk, and too much for the database."""
LARGE: Final = hashlib.shake_256(b"large").digest(20_000_000)
"""Does not compress; lives in more chunks than are read ahead."""


async def pushed(served: Served, repository: Repository, data: bytes) -> str:
    """Push a blob, and let its files be old."""
    served.disk.settled = False
    name = await repository.push_blob(data)
    served.disk.settled = True
    return name


async def head_of(reader: StreamReader) -> tuple[int, dict[str, str]]:
    """Read an answer's header."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    return int(lines[0].split()[1]), dict(line.split(": ", 1) for line in lines[1:-2])


async def answer_of(reader: StreamReader) -> tuple[int, bytes]:
    """Read an answer, whole."""
    status, headers = await head_of(reader)
    return status, await reader.readexactly(int(headers["Content-Length"]))


async def until(true: Callable[[], bool]) -> None:
    """Wait for the server to get there."""
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["one-chunk", "many"])
async def test_whole_blobs_come_back_unknown_and_known(
    served: Served, repository: Repository, data: bytes
) -> None:
    name = await pushed(served, repository, data)
    for known in (False, True):
        served.disk.sent = served.disk.read_in_parts = served.disk.hashed = 0
        answer = (await repository.get(f"blobs/{name}")).expect(200)
        assert answer.body == data
        assert answer.headers["Content-Length"] == str(len(data))
        found = served.disk.sent, served.disk.read_in_parts
        assert found == ((len(data), 0) if served.context is None else (0, len(data)))
        # More when a busy disk was late, and the other was asked as well.
        assert served.disk.hashed == 0 if known else served.disk.hashed >= len(data)
    answer = (await repository.head(f"blobs/{name}")).expect(200)
    assert answer.headers["Content-Length"] == str(len(data))


async def test_what_was_just_written_is_not_read_back_first(
    served: Served, repository: Repository
) -> None:
    served.disk.settled = True
    name = await repository.push_blob(LARGE)
    assert (await repository.get(f"blobs/{name}")).expect(200).body == LARGE
    assert served.disk.sent + served.disk.read_in_parts == len(LARGE)


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["one-chunk", "many"])
async def test_every_form_of_range_unknown_and_known(
    served: Served, repository: Repository, data: bytes
) -> None:
    name, size = await pushed(served, repository, data), len(data)
    forms = {
        "0-0": data[:1],
        "0-": data,
        "-1": data[-1:],
        "-70000": data[-70000:],
        f"{size - 1}-": data[-1:],
        "5000-5999": data[5000:6000],
        f"{size // 3}-{2 * size // 3}": data[size // 3 : 2 * size // 3 + 1],
        f"{size // 2}-{size // 2 + 999_999}": data[size // 2 : size // 2 + 1_000_000],
        f"90000-{10**15}": data[90000:],
    }
    for _known in (False, True):
        for form, expected in forms.items():
            answer = await repository.get(f"blobs/{name}", Range=f"bytes={form}")
            assert answer.expect(206).body == expected, form
            assert answer.headers["Content-Range"].endswith(f"/{size}")
    assert served.disk.read_in_parts > 0, "known parts were read without a thread"


async def test_what_has_left_the_page_cache_is_sent_all_the_same(
    served: Served, repository: Repository
) -> None:
    name = await pushed(served, repository, LARGE)
    (await repository.get(f"blobs/{name}")).expect(200)
    served.disk.cold = True
    served.disk.sent = served.disk.read_in_parts = served.disk.loaded = 0
    for form, expected in {"0-": LARGE, "5-70004": LARGE[5:70_005]}.items():
        answer = await repository.get(f"blobs/{name}", Range=f"bytes={form}")
        assert answer.expect(206).body == expected
    # A thread counts after the client has it.
    disk = served.disk
    await until(lambda: disk.sent + disk.read_in_parts - disk.loaded == len(LARGE) + 70_000)


async def test_1024_parts_unknown_and_known(served: Served, repository: Repository) -> None:
    name = await pushed(served, repository, LARGE)
    starts = range(0, 19_000 * 1024, 19_000)
    form = "bytes=" + ",".join(f"{start}-{start + 999}" for start in starts)
    for _known in (False, True):
        answer = await repository.get(f"blobs/{name}", Range=form)
        found = parts_of(answer.expect(206))
        assert [part for _, part in found] == [LARGE[start : start + 1000] for start in starts]
        assert found[7][0] == f"bytes 133000-133999/{len(LARGE)}"


async def test_large_parts_of_one_answer(served: Served, repository: Repository) -> None:
    name = await pushed(served, repository, LARGE)
    (await repository.get(f"blobs/{name}")).expect(200)
    served.disk.sent = served.disk.read_in_parts = 0
    answer = await repository.get(f"blobs/{name}", Range="bytes=9000000-18999999,0-4999999")
    parts = [part for _, part in parts_of(answer.expect(206))]
    assert parts == [LARGE[9_000_000:19_000_000], LARGE[:5_000_000]]
    sent = served.disk.read_in_parts if served.context else served.disk.sent
    # Nearly always all of it; what the kernel will not give at once may come another way.
    assert 0 < sent <= 15_000_000


async def test_if_range(served: Served, repository: Repository) -> None:
    name = await pushed(served, repository, LARGE)
    for _known in (False, True):
        for tag, status, expected in ((name, 206, LARGE[10:20]), ("other", 200, LARGE)):
            headers = {"Range": "bytes=10-19", "If-Range": f'"{tag}"'}
            answer = await repository.request("GET", f"blobs/{name}", headers=headers)
            assert answer.expect(status).body == expected


async def test_requests_sent_ahead_are_answered_in_order(
    served: Served, repository: Repository, asking: Asking
) -> None:
    name = await pushed(served, repository, LARGE)
    for _known in (False, True):
        reader, writer = await served.connect()
        whole, head = await asking(name), await asking(name, "HEAD")
        part = await asking(name, more="Range: bytes=7-11\r\n")
        writer.write(whole + part + whole + head + part)
        assert await answer_of(reader) == (200, LARGE)
        assert await answer_of(reader) == (206, LARGE[7:12])
        assert await answer_of(reader) == (200, LARGE)
        status, headers = await head_of(reader)
        assert (status, headers["Content-Length"]) == (200, str(len(LARGE)))
        assert await answer_of(reader) == (206, LARGE[7:12])
        # And once more after a pause: the connection is as good as new.
        writer.write(whole)
        assert await answer_of(reader) == (200, LARGE)


async def test_a_server_that_ends_finishes_an_answer_in_flight(
    served: Served, repository: Repository, asking: Asking
) -> None:
    name = await pushed(served, repository, LARGE)
    (await repository.get(f"blobs/{name}")).expect(200)
    await repository.client.session.close()
    reader, writer = await served.connect(receive_bytes=65536)
    writer.write(await asking(name))
    status, _ = await head_of(reader)
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        drained = group.create_task(served.connections.drain(20))
        first = await reader.readexactly(1_000_000)
        assert not drained.done()
        assert (status, first + await reader.read(-1)) == (200, LARGE)
    assert not served.connections.connections


async def test_a_client_that_leaves_frees_every_descriptor(
    served: Served, repository: Repository, asking: Asking
) -> None:
    name = await pushed(served, repository, LARGE)
    (await repository.get(f"blobs/{name}")).expect(200)
    before, idle = len(os.listdir("/proc/self/fd")), len(served.connections.connections)  # noqa: PTH208
    for _ in range(5):
        reader, writer = await served.connect(receive_bytes=65536)
        writer.write(await asking(name))
        await reader.readexactly(100_000)
        writer.transport.abort()
    await until(lambda: len(os.listdir("/proc/self/fd")) <= before)  # noqa: PTH208
    await until(lambda: len(served.connections.connections) == idle)
    assert (await repository.get(f"blobs/{name}")).expect(200).body == LARGE


def spoil(file: Path) -> None:
    """Change a byte in the middle, in place."""
    middle = file.stat().st_size // 2
    with file.open("r+b") as opened:
        opened.seek(middle)
        byte = opened.read(1)
        opened.seek(middle)
        opened.write(bytes([byte[0] ^ 1]))


async def test_a_copy_that_changed_is_found_and_replaced(
    served: Served, repository: Repository
) -> None:
    name = await pushed(served, repository, LARGE)
    (await repository.get(f"blobs/{name}")).expect(200)
    spoiled = list(served.roots[0].glob("chunks/*/*/*"))
    assert len(spoiled) > 4
    for file in spoiled:
        spoil(file)
    for _ in range(3):
        assert (await repository.get(f"blobs/{name}")).expect(200).body == LARGE
        form = f"bytes=100-{len(LARGE) - 100}"
        assert (await repository.get(f"blobs/{name}", Range=form)).body == LARGE[100:-99]


async def test_wrong_bytes_are_a_refusal_or_a_cut_and_never_an_answer(
    served: Served, repository: Repository
) -> None:
    name = await pushed(served, repository, LARGE)
    (await repository.get(f"blobs/{name}")).expect(200)
    for file in served.chunks():
        spoil(file)
    (await repository.get(f"blobs/{name}")).expect(503)
    (await repository.get(f"blobs/{name}", Range="bytes=0-999999")).expect(503)


@pytest.mark.parametrize("cold", [False, True])
async def test_what_changes_while_it_is_sent_cuts_the_answer(
    served: Served, repository: Repository, asking: Asking, *, cold: bool
) -> None:
    name = await pushed(served, repository, LARGE)
    (await repository.get(f"blobs/{name}")).expect(200)
    served.disk.cold = cold
    reader, writer = await served.connect(receive_bytes=65536)
    writer.write(await asking(name))
    status, _ = await head_of(reader)
    for file in served.chunks():
        spoil(file)
    async with asyncio.timeout(20):  # else it was not cut
        found = await reader.read(-1)
    assert status == 200
    assert len(found) < len(LARGE)


async def test_without_the_stamps_wrong_bytes_would_be_an_answer(
    served: Served, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control of the three tests before."""
    for module in ("file", "verified"):
        monkeypatch.setattr(f"treescale.chunks.disk.{module}.stamp_of", lambda _: (0, 0, 0, 0, 0))
    name = await pushed(served, repository, LARGE)
    (await repository.get(f"blobs/{name}")).expect(200)
    for file in served.chunks():
        spoil(file)
    answer = (await repository.get(f"blobs/{name}")).expect(200)
    assert len(answer.body) == len(LARGE)
    assert answer.body != LARGE

"""The API by hand, against real worker processes: resumed uploads, workers that end, memory."""

import hashlib
from pathlib import Path

import pytest

from tests import images
from tests.functional.conftest import Serve
from tests.functional.programs import alive, wait_until, workers_of
from tests.functional.server import Options
from tests.functional.wire import Wire
from tests.images import sha256_of

MIB = 1024 * 1024


def test_an_upload_goes_on_after_the_server_was_killed(serve: Serve) -> None:
    server = serve(Options(workers=3))
    wire = Wire(server, server.add_user("dave"))
    data = images.noise(20 * MIB)
    half = 11 * MIB + 17
    place = wire.begin_upload("dave/app")
    place = wire.request("PATCH", place, data[:half]).expect(202).location
    server.crash()
    server.start()
    status = wire.request("GET", place).expect(204)
    assert status.headers["Range"] == f"0-{half - 1}"
    place = wire.request("PATCH", status.location, data[half:]).expect(202).location
    wire.finish_upload(place, sha256_of(data)).expect(201)
    assert wire.pull_blob("dave/app", sha256_of(data)) == data


def test_an_upload_cut_in_mid_patch_tells_where_it_goes_on(serve: Serve) -> None:
    server = serve(Options())
    wire = Wire(server, server.add_user("dave"))
    data = images.noise(24 * MIB)
    place = wire.begin_upload("dave/app")
    place = wire.request("PATCH", place, data[:MIB]).expect(202).location
    with pytest.raises(OSError, match=r"."):
        wire.request_cut("PATCH", place, data[MIB:], sent=9 * MIB, then=server.crash)
    server.start()
    status = wire.request("GET", place).expect(204)
    offset = int(status.headers["Range"].partition("-")[2]) + 1
    assert MIB <= offset <= 10 * MIB
    headers = {"Content-Range": f"{offset}-{len(data) - 1}"}
    place = wire.request("PATCH", status.location, data[offset:], headers).expect(202).location
    wire.finish_upload(place, sha256_of(data)).expect(201)
    assert wire.pull_blob("dave/app", sha256_of(data)) == data


def test_requests_of_one_upload_may_reach_any_worker(serve: Serve) -> None:
    server = serve(Options(workers=3))
    wire = Wire(server, server.add_user("dave"))
    data = images.noise(6 * MIB)
    place = wire.begin_upload("dave/app")
    for at in range(0, len(data), MIB):  # each on a connection, and so maybe a worker, of its own
        headers = {"Content-Range": f"{at}-{at + MIB - 1}"}
        place = wire.request("PATCH", place, data[at : at + MIB], headers).expect(202).location
    wire.finish_upload(place, sha256_of(data)).expect(201)
    for _ in range(6):
        assert wire.pull_blob("dave/app", sha256_of(data)) == data


def test_a_killed_worker_is_replaced_and_the_server_goes_on(serve: Serve) -> None:
    server = serve(Options(workers=2))
    wire = Wire(server, server.add_user("dave"))
    digest = wire.push_blob("dave/app", b"x" * MIB)
    before = workers_of(server.program.pid)
    assert len(before) == 2
    server.kill_worker(before[0])
    wait_until("it is gone", lambda: before[0] not in workers_of(server.program.pid))
    wait_until("it is replaced", lambda: len(workers_of(server.program.pid)) == 2)
    for _ in range(4):
        wire.pull_blob("dave/app", digest)


def test_no_worker_outlives_its_supervisor(serve: Serve) -> None:
    server = serve(Options(workers=3))
    workers = workers_of(server.program.pid)
    assert len(workers) == 3
    server.kill_supervisor()
    wait_until("every worker ends", lambda: not any(alive(pid) for pid in workers))
    server.crash()
    server.start()


def test_the_default_is_more_than_one_worker(serve: Serve) -> None:
    server = serve(Options(workers=None))
    assert len(workers_of(server.program.pid)) >= 2


def test_memory_does_not_grow_with_the_size_of_a_layer(serve: Serve) -> None:
    server = serve(Options(workers=1))
    wire = Wire(server, server.add_user("dave"))
    block = images.noise(16 * MIB)
    pieces = [number.to_bytes(8) + block for number in range(40)]  # 640 MB, none of them alike
    digest = "sha256:" + hashlib.sha256(b"".join(pieces)).hexdigest()
    wire.push_blob("dave/app", b"to warm up")
    [worker] = workers_of(server.program.pid)
    before = peak_memory(worker)
    place = wire.request("PATCH", wire.begin_upload("dave/app"), iter(pieces)).expect(202).location
    wire.finish_upload(place, digest).expect(201)
    assert hashlib.sha256(wire.pull_blob("dave/app", digest)).hexdigest() == digest[7:]
    grown = peak_memory(worker) - before
    assert grown < 160 * MIB, f"{grown / MIB:.0f} MiB more for a layer of {len(pieces) * 16} MiB"


def peak_memory(pid: int) -> int:
    """Return the most memory a process ever had, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024

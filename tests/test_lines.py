"""Lines that cannot be written: dropped, counted, told of; nobody waits, and none is torn."""

import errno
import fcntl
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from treescale.lines import PATIENCE_SECONDS, QUEUE_BYTES_MAX, Lines

PIPE_BYTES = 65_536


def told(count: int) -> bytes:
    return b"dropped %d\n" % count


def until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not happened():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.002)


class Pipe:
    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def fill(self) -> None:
        os.set_blocking(self.writer, False)
        try:
            while True:
                os.write(self.writer, b"x" * 4096)
        except BlockingIOError:
            os.set_blocking(self.writer, True)

    def read(self) -> bytes:
        os.set_blocking(self.reader, False)
        found = b""
        try:
            while piece := os.read(self.reader, PIPE_BYTES):
                found += piece
        except BlockingIOError:
            pass
        return found

    def hang_up(self) -> None:
        os.close(self.reader)
        self.reader = -1


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    os.close(pipe.writer)
    if pipe.reader >= 0:
        os.close(pipe.reader)


class Disk:
    """A file on a disk that has room for so many bytes."""

    def __init__(self, room: int) -> None:
        self.room = room
        self._write = os.write

    def write(self, fd: int, data: bytes) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "no room")
        written = self._write(fd, data[: self.room])
        self.room -= written
        return written


def test_lines_are_written_as_they_are(pipe: Pipe) -> None:
    lines = Lines(pipe.writer, told)
    lines.write(b"one\n")
    lines.write(b"two\n")
    assert pipe.read() == b"one\ntwo\n"


@pytest.mark.parametrize("background", [True, False])
def test_without_a_reader_they_are_dropped(pipe: Pipe, *, background: bool) -> None:
    lines = Lines(pipe.writer, told)
    if background:
        lines.in_background()
    pipe.hang_up()
    for _ in range(3):
        lines.write(b"nobody hears\n")
    until(lambda: lines.dropped == 3)


@pytest.mark.parametrize("error", [errno.EIO, errno.EPIPE, errno.ENOSPC, errno.EBADF, errno.EAGAIN])
@pytest.mark.parametrize("background", [True, False])
def test_any_error_drops_them_and_that_is_told_afterwards(
    pipe: Pipe, error: int, *, background: bool
) -> None:
    lines = Lines(pipe.writer, told)
    if background:
        lines.in_background()
    with patch("treescale.lines.os.write", side_effect=OSError(error, "no")):
        lines.write(b"lost\n")
        lines.write(b"lost too\n")
        until(lambda: lines.dropped == 2)
    lines.write(b"again\n")
    lines.close()
    assert pipe.read() == b"dropped 2\nagain\n"
    assert lines.dropped == 0


def test_a_full_pipe_holds_up_nobody(pipe: Pipe) -> None:
    lines = Lines(pipe.writer, told)
    pipe.fill()
    begun = time.monotonic()
    lines.write(b"no room\n")
    assert time.monotonic() - begun < PATIENCE_SECONDS + 1
    assert lines.dropped == 1
    pipe.read()
    lines.write(b"again\n")
    assert pipe.read() == b"dropped 1\nagain\n"


def test_in_the_background_a_full_pipe_is_waited_for_and_then_all_is_there(pipe: Pipe) -> None:
    lines = Lines(pipe.writer, told)
    lines.in_background()
    pipe.fill()
    begun = time.monotonic()
    for number in range(1000):
        lines.write(b"%d\n" % number)
    assert time.monotonic() - begun < 1
    found = b""

    def all_there() -> bool:
        nonlocal found
        found += pipe.read()
        return found.endswith(b"\n999\n")

    until(all_there)
    assert found.lstrip(b"x") == b"".join(b"%d\n" % number for number in range(1000))
    assert lines.dropped == 0


def test_what_waits_is_bounded(pipe: Pipe) -> None:
    lines, heard = Lines(pipe.writer, told), list[int]()
    lines.heard = heard.append
    lines.in_background()
    pipe.fill()
    line = b"x" * 9999 + b"\n"
    for _ in range(1000):
        lines.write(line)
    assert 1000 - lines.dropped <= QUEUE_BYTES_MAX // len(line) + 7
    assert sum(heard) == lines.dropped > 0
    found = b""

    def said() -> bool:
        nonlocal found
        found += pipe.read()
        lines.write(b"end\n")
        return b"dropped " in found and b"\nend\n" in found

    until(said)


@pytest.mark.parametrize("room", [0, 1, 50, 99, 100, 101, 250, 399])
def test_a_disk_that_fills_up_in_the_middle_of_a_line(tmp_path: Path, room: int) -> None:
    log = tmp_path / "log"
    fd, disk = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), Disk(room)
    lines = Lines(fd, told)
    sent = [b"%099d\n" % number for number in range(4)]
    with patch("treescale.lines.os.write", disk.write):
        for line in sent:
            lines.write(line)
        assert lines.dropped == 4 - room // 100
        disk.room = 10_000
        lines.write(b"again\n")
    os.close(fd)
    rest = [b""] if room % 100 == 0 else [sent[room // 100][: room % 100] + b"\n"]
    end = b"dropped %d\nagain\n" % (4 - room // 100)
    assert log.read_bytes() == b"".join([*sent[: room // 100], *rest, end])


@pytest.mark.parametrize("to", ["pipe", "file"])
def test_lines_of_many_processes_stay_whole(pipe: Pipe, tmp_path: Path, to: str) -> None:
    """Long ones as well: the kernel takes a long write apart where a pipe is full."""
    file = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    lines = Lines(pipe.writer if to == "pipe" else file, told)
    children = []
    for process in range(4):
        pid = os.fork()
        if pid == 0:
            lines.in_background()
            for number in range(300):
                length = 10_000 if number % 3 else 100
                lines.write(
                    json.dumps({"p": process, "n": number, "x": "x" * length}).encode() + b"\n"
                )
            end = time.monotonic() + 20
            while lines._queued_bytes and time.monotonic() < end:
                time.sleep(0.01)
            os._exit(0)
        children.append(pid)
    found = bytearray()
    running = set(children)
    while running:
        if to == "pipe":
            found += pipe.read()
        running = {pid for pid in running if os.waitpid(pid, os.WNOHANG)[0] == 0}
        time.sleep(0.002)
    found += pipe.read() if to == "pipe" else (tmp_path / "log").read_bytes()
    os.close(file)
    events = [json.loads(line) for line in bytes(found).splitlines()]
    for process in range(4):
        assert [each["n"] for each in events if each["p"] == process] == list(range(300))


def test_a_process_that_dies_with_the_lock_keeps_nobody_from_writing(pipe: Pipe) -> None:
    lines = Lines(pipe.writer, told)
    ready, say = os.pipe()
    pid = os.fork()
    if pid == 0:
        fcntl.lockf(lines._lock, fcntl.LOCK_EX)
        os.write(say, b"+")
        time.sleep(60)
        os._exit(0)
    os.read(ready, 1)
    lines.write(b"dropped, after a moment\n")
    assert lines.dropped == 1
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    lines.write(b"again\n")
    assert pipe.read() == b"dropped 1\nagain\n"
    os.close(ready)
    os.close(say)


def test_without_threads_it_goes_on_without(pipe: Pipe) -> None:
    lines = Lines(pipe.writer, told)
    with patch.object(threading.Thread, "start", side_effect=RuntimeError("no more")):
        lines.in_background()
    lines.write(b"one\n")
    assert pipe.read() == b"one\n"


def test_at_the_end_nobody_waits_for_long(pipe: Pipe) -> None:
    lines = Lines(pipe.writer, told)
    lines.in_background()
    pipe.fill()
    lines.write(b"never written\n")
    begun = time.monotonic()
    lines.close()
    assert time.monotonic() - begun < 5


def test_what_comes_while_lines_are_written_is_gathered_for_the_next_time(
    pipe: Pipe,
) -> None:
    """A thread that each line keeps awake takes the interpreter from who serves."""
    lines = Lines(pipe.writer, told)
    done: list[str] = []
    write, sleep = os.write, time.sleep

    def writes(fd: int, data: bytes) -> int:
        if fd == pipe.writer:
            done.append("write")
            if len(done) < 20:
                lines.write(b"meanwhile\n")
        return write(fd, data)

    def sleeps(seconds: float) -> None:
        if threading.current_thread().name == "log":
            done.append("sleep")
        sleep(seconds)

    with patch("os.write", writes), patch("time.sleep", sleeps):
        lines.in_background()
        lines.write(b"first\n")
        until(lambda: len(done) >= 20)
    assert done[:20] == ["sleep", "write"] * 10

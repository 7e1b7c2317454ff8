"""Renewing a certificate while the server runs: what is taken, what is refused, what is said."""

import asyncio
import os
import threading
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.certificates import DAY, Authority
from treescale.server.network.certificate_watch import LOOK_SECONDS, CertificateWatch
from treescale.server.network.certificates import CertificateFiles
from treescale.server.network.key_pair import KeyPair
from treescale.server.network.served_certificate import ServedCertificate

NOW = 1_800_000_000.0
AUTHORITY = Authority()


def pair(days: float) -> KeyPair:
    return AUTHORITY.pair(NOW - DAY, NOW + days * DAY)


class Clock:
    """Stands still."""

    seconds = 0.0

    def now(self) -> float:
        return NOW + self.seconds

    def monotonic(self) -> float:
        return self.seconds


class Rig:
    """Files, what is served, and who watches."""

    def __init__(self, directory: Path, days: float = 60) -> None:
        self.files = CertificateFiles(directory / "tls.crt", directory / "tls.key")
        self.first = pair(days)
        self.write(self.first)
        self.served = ServedCertificate(self.files, self.first)
        self.clock = Clock()
        self.watch = CertificateWatch(self.served, self.clock)

    def write(self, found: KeyPair) -> None:
        self.files.certificate.write_bytes(found.certificate)
        self.files.key.write_bytes(found.key)

    async def looks(self, times: int = 1) -> list[MutableMapping[str, Any]]:
        """Return what was said at so many looks."""
        with capture_logs() as logs:
            for _ in range(times):
                self.clock.seconds += LOOK_SECONDS
                await self.watch.look()
        return logs


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


async def test_nothing_is_said_while_nothing_changes(rig: Rig) -> None:
    before = rig.served.version
    assert await rig.looks(5) == []
    assert rig.served.version == before


async def test_files_that_change_are_taken_into_use(rig: Rig) -> None:
    second = pair(90)
    rig.write(second)
    (said,) = await rig.looks()
    assert said["event"] == "certificate.loaded"
    assert said["in_use_until"].startswith("2027-04-15")
    assert rig.served.pair() == second
    assert await rig.looks(3) == []


async def test_the_same_time_and_length_hide_nothing(rig: Rig) -> None:
    stamp = rig.files.certificate.stat()
    second = pair(60)
    rig.write(second)
    for file in (rig.files.certificate, rig.files.key):
        os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    await rig.looks()
    assert rig.served.pair() == second


async def test_half_a_rotation_settles_without_a_word(rig: Rig) -> None:
    second = pair(90)
    rig.files.certificate.write_bytes(second.certificate)
    assert await rig.looks() == [], "the key may come now"
    assert rig.served.pair() == rig.first
    rig.files.key.write_bytes(second.key)
    (said,) = await rig.looks()
    assert said["event"] == "certificate.loaded"
    assert rig.served.pair() == second


async def test_a_pair_that_stays_bad_is_told_of_once_and_the_old_one_stays(rig: Rig) -> None:
    rig.files.key.write_bytes(pair(90).key)
    (said,) = await rig.looks(10)
    assert (said["event"], said["log_level"]) == ("certificate.refused", "error")
    assert "that of another certificate" in said["reason"]
    assert "stays in use" in said["means"]
    rig.files.key.unlink()
    (said,) = await rig.looks(10)
    assert "No such file" in said["reason"], "another reason is news"
    assert rig.served.pair() == rig.first
    rig.write(rig.first)
    assert await rig.looks(3) == []


async def test_an_expired_one_is_refused_and_one_for_later_taken_when_it_begins(rig: Rig) -> None:
    rig.write(AUTHORITY.pair(NOW - 2 * DAY, NOW - DAY))
    (said,) = await rig.looks(2)
    assert "has expired" in said["reason"]
    later = AUTHORITY.pair(NOW + 60, NOW + 60 * DAY)
    rig.write(later)
    (said,) = await rig.looks(2)
    assert "begins on" in said["reason"]
    rig.clock.seconds = 60
    (said,) = await rig.looks()
    assert said["event"] == "certificate.loaded"
    assert rig.served.pair() == later


async def test_symbolic_links_that_are_swapped_are_followed(tmp_path: Path) -> None:
    first, second = pair(60), pair(90)
    for name, found in (("one", first), ("two", second)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tls.crt").write_bytes(found.certificate)
        (tmp_path / name / "tls.key").write_bytes(found.key)
    (tmp_path / "..data").symlink_to("one")
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    rig = Rig.__new__(Rig)
    rig.files = CertificateFiles(tmp_path / "tls.crt", tmp_path / "tls.key")
    rig.served, rig.clock = ServedCertificate(rig.files, first), Clock()
    rig.watch = CertificateWatch(rig.served, rig.clock)
    assert await rig.looks() == []
    (tmp_path / "..next").symlink_to("two")
    (tmp_path / "..next").rename(tmp_path / "..data")
    (said,) = await rig.looks()
    assert said["event"] == "certificate.loaded"
    assert rig.served.pair() == second


async def test_who_asks_is_answered_at_once_whatever_is_found(rig: Rig) -> None:
    await rig.looks()

    async def asked() -> str:
        rig.served.ask()
        with capture_logs() as logs:
            await rig.watch.look()
            await rig.watch.look()
        return " ".join(str(line["event"]) for line in logs)

    assert await asked() == "certificate.unchanged"
    rig.files.key.write_bytes(b"")
    assert await asked() == "certificate.refused"
    rig.write(pair(90))
    assert await asked() == "certificate.loaded"


async def test_between_looks_the_files_are_left_alone(rig: Rig) -> None:
    await rig.looks()
    second = pair(90)
    rig.write(second)
    rig.clock.seconds += LOOK_SECONDS - 1
    await rig.watch.look()
    assert rig.served.pair() == rig.first
    rig.clock.seconds += 1
    await rig.watch.look()
    assert rig.served.pair() == second


async def test_one_that_ends_soon_is_told_of_once_a_day(tmp_path: Path) -> None:
    rig = Rig(tmp_path, days=14.5)
    assert await rig.looks(3) == []
    rig.clock.seconds = 0.6 * DAY
    (said,) = await rig.looks(3)
    assert (said["event"], said["log_level"]) == ("certificate.expiring", "warning")
    assert said["days_left"] == 13.9
    rig.clock.seconds = 1.7 * DAY
    (said,) = await rig.looks(3)
    rig.clock.seconds = 15 * DAY
    (said,) = await rig.looks(3)
    assert said["event"] == "certificate.expired"
    rig.write(pair(60))
    assert [line["event"] for line in await rig.looks(3)] == ["certificate.loaded"]


async def test_a_disk_that_hangs_takes_one_thread_and_no_more(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, reads = threading.Event(), []

    def read(*_: Path) -> KeyPair:
        reads.append(1)
        answers.wait(10)
        return rig.first

    monkeypatch.setattr("treescale.server.network.certificate_watch.read_pair", read)
    rig.clock.seconds = LOOK_SECONDS
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await rig.watch.look()
    assert len(reads) == 1
    answers.set()
    assert await rig.looks() == []

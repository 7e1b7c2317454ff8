"""One certificate for all processes of a server, replaced while they run."""

import os
from pathlib import Path
from unittest.mock import patch

import pytest

from tests.certificates import DAY, Authority
from treescale.server.network.certificates import CertificateFiles
from treescale.server.network.key_pair import KeyPair
from treescale.server.network.served_certificate import ServedCertificate

NOW = 1_800_000_000.0
FILES = CertificateFiles(Path("tls.crt"), Path("tls.key"))
FIRST, SECOND = (Authority().pair(NOW, NOW + days * DAY) for days in (1, 2))


def in_a_fork(served: ServedCertificate, pair: KeyPair) -> None:
    pid = os.fork()
    if pid == 0:
        served.replace(pair)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


def test_what_one_process_takes_all_serve_with() -> None:
    served = ServedCertificate(FILES, FIRST)
    assert (served.pair(), served.expires) == (FIRST, NOW + DAY)
    before = served.version
    in_a_fork(served, SECOND)
    assert (served.pair(), served.expires) == (SECOND, NOW + 2 * DAY)
    assert served.version != before
    served.replace(FIRST)
    assert served.pair() == FIRST


def test_a_process_that_dies_halfway_leaves_the_one_before() -> None:
    served = ServedCertificate(FILES, FIRST)
    whole = os.pwrite

    def half(descriptor: int, data: bytes, position: int) -> int:
        whole(descriptor, data[: len(data) // 2], position)
        raise OSError("killed")

    with (
        patch("treescale.server.network.served_certificate.os.pwrite", half),
        pytest.raises(OSError, match="killed"),
    ):
        served.replace(SECOND)
    assert served.pair() == FIRST
    served.replace(SECOND)
    assert served.pair() == SECOND


def test_who_asks_for_a_look_is_counted() -> None:
    served = ServedCertificate(FILES, FIRST)
    assert served.asked == 0
    served.ask()
    served.ask()
    assert served.asked == 2

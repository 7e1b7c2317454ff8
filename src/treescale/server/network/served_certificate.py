"""The certificate that a server serves with, in memory that its processes share.

One process looks at the files and judges what it finds; all serve with what it took last, also one
that is started while the files hold what was refused.
"""

import mmap
import os
import struct
from typing import Final

from treescale.server.network.certificates import CertificateFiles
from treescale.server.network.key_pair import KeyPair

_LENGTHS: Final = struct.Struct("=QQ")
_POSITION: Final = 0
_EXPIRES: Final = 1
_ASKED: Final = 2


class ServedCertificate:
    """A certificate and its key, replaced while the server runs; to be made before the fork.

    Each is appended to memory and then pointed at, so a process that dies halfway leaves the one
    before it in use. One process replaces, at a time.
    """

    def __init__(self, files: CertificateFiles, pair: KeyPair) -> None:
        self.files = files
        self._pairs = os.memfd_create("treescale-certificate")
        self._numbers = memoryview(mmap.mmap(-1, 3 * 8)).cast("d")  # shared with forks
        os.write(self._pairs, b"\0")  # so that no pair has the position 0
        self.replace(pair)

    def __del__(self) -> None:
        """Let go of the memory."""
        os.close(self._pairs)

    @property
    def version(self) -> int:
        """Return a number that another certificate has another one of."""
        return int(self._numbers[_POSITION])

    @property
    def expires(self) -> float:
        """Return when the certificate in use ends, in seconds since 1970; infinite if unknown."""
        return self._numbers[_EXPIRES]

    @property
    def asked(self) -> int:
        """Return how often it was asked to look at the files now."""
        return int(self._numbers[_ASKED])

    def ask(self) -> None:
        """Have the files looked at now, and told of what is found; from one process."""
        self._numbers[_ASKED] += 1

    def replace(self, pair: KeyPair) -> None:
        """Have all processes serve with it."""
        expires = pair.expires
        lengths = _LENGTHS.pack(len(pair.certificate), len(pair.key))
        position = os.fstat(self._pairs).st_size
        os.pwrite(self._pairs, lengths + pair.certificate + pair.key, position)
        self._numbers[_EXPIRES] = expires
        self._numbers[_POSITION] = position

    def pair(self) -> KeyPair:
        """Return what is served with."""
        position = self.version
        certificate, key = _LENGTHS.unpack(os.pread(self._pairs, _LENGTHS.size, position))
        begin = position + _LENGTHS.size
        return KeyPair(
            os.pread(self._pairs, certificate, begin),
            os.pread(self._pairs, key, begin + certificate),
        )

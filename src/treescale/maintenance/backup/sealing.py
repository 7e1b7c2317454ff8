"""A backup under a passphrase: segments that cannot be read, altered, moved, or cut off unnoticed.

The construction is age's (age-encryption.org/v1, "Payload") with a key from a passphrase: scrypt
gives 64 bytes of passphrase and salt, half of which are the key of each segment (ChaCha20-Poly1305)
and half that of the head's HMAC. A segment's nonce is its number, and whether it is the last. Pure:
whoever seals hands in the salt, and whoever reads hands in what reads.
"""

import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from treescale.errors import BackupInvalid
from treescale.maintenance.backup.records import Read

SEGMENT_BYTES: Final = 65_536
TAG_BYTES: Final = 16
SALT_BYTES: Final = 32
MAC_BYTES: Final = 32
LOG_N: Final = 17
"""scrypt takes 128 MiB and a third of a second with it: OWASP's advice for r = 8, p = 1."""
LOG_N_MAX: Final = 20
"""1 GiB: a file that asks for more is not believed."""
HEAD_BYTES: Final = 1 + SALT_BYTES + MAC_BYTES
_R: Final = 8
_P: Final = 1
_KEY_BYTES: Final = 32

_WRONG: Final = "the passphrase is wrong, or the first bytes of the backup were altered"
_BROKEN: Final = (
    "the backup is cut short, damaged or was altered: nothing was restored. Copy it again, or take "
    "another one"
)


@dataclass(frozen=True, slots=True)
class Keys:
    """What a passphrase and a salt give."""

    segments: bytes
    head: bytes


def derived(passphrase: bytes, salt: bytes, log_n: int) -> Keys:
    """Return the keys; takes long, by design."""
    both = Scrypt(salt, 2 * _KEY_BYTES, 2**log_n, _R, _P).derive(passphrase)
    return Keys(both[:_KEY_BYTES], both[_KEY_BYTES:])


def head_of(line: bytes, keys: Keys, salt: bytes, log_n: int) -> bytes:
    """Return what follows the first line of a sealed backup."""
    told = bytes([log_n]) + salt
    return told + hmac.digest(keys.head, line + told, "sha256")


def keys_of(line: bytes, head: bytes, passphrase: bytes) -> Keys:
    """Return the keys of a sealed backup by its head; raises BackupInvalid for another one's."""
    if len(head) != HEAD_BYTES or not 1 <= head[0] <= LOG_N_MAX:
        raise BackupInvalid(_BROKEN)
    told, mac = head[:-MAC_BYTES], head[-MAC_BYTES:]
    keys = derived(passphrase, told[1:], told[0])
    if not hmac.compare_digest(hmac.digest(keys.head, line + told, "sha256"), mac):
        raise BackupInvalid(_WRONG)
    return keys


class Sealer:
    """Seals a stream, segment by segment."""

    def __init__(self, keys: Keys) -> None:
        self._cipher = ChaCha20Poly1305(keys.segments)
        self._number = 0
        self._waiting = bytearray()

    def seal(self, data: bytes) -> Iterator[bytes]:
        """Yield what is complete with these bytes; the last segment waits for the end."""
        self._waiting += data
        while len(self._waiting) > SEGMENT_BYTES:
            yield self._sealed(SEGMENT_BYTES, last=False)

    def end(self) -> bytes:
        """Return the last segment."""
        return self._sealed(len(self._waiting), last=True)

    def _sealed(self, count: int, *, last: bool) -> bytes:
        data = bytes(self._waiting[:count])
        del self._waiting[:count]
        nonce = _nonce(self._number, last=last)
        self._number += 1
        return self._cipher.encrypt(nonce, data, None)


class Unsealer:
    """Reads a sealed stream; raises BackupInvalid for anything that was not sealed so."""

    def __init__(self, keys: Keys, read: Read) -> None:
        self._cipher = ChaCha20Poly1305(keys.segments)
        self._read = read
        self._number = 0
        self._open = b""
        self._next = read(SEGMENT_BYTES + TAG_BYTES)
        self._ended = False

    def read(self, count: int) -> bytes:
        """Return up to so many bytes; none at the end, which is proven."""
        while not self._open and not self._ended:
            self._open = self._unsealed()
        found, self._open = self._open[:count], self._open[count:]
        return found

    def _unsealed(self) -> bytes:
        segment, self._next = self._next, self._read(SEGMENT_BYTES + TAG_BYTES)
        self._ended = not self._next
        nonce = _nonce(self._number, last=self._ended)
        self._number += 1
        try:
            return self._cipher.decrypt(nonce, segment, None)
        except InvalidTag as error:
            raise BackupInvalid(_BROKEN) from error


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])

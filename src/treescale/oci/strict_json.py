"""JSON that every reader reads alike: one object, UTF-8, no doubt about a single value.

Manifests are verified by one program and run by another, so anything two parsers may take
differently is refused: duplicate keys, NaN, numbers too long to be exact, lone surrogates, byte
order marks. How much it holds and how deeply it is nested is bounded by its bytes alone. What
`json` reads, it reads by recursion, so a document that is nested deeply is read in parts: each
`LEVELS_AT_ONCE` deep, with a number in the place of the part below.
"""

import json
import re
from typing import Any, Final, NoReturn

from treescale.errors import ManifestInvalid

LEVELS_AT_ONCE: Final = 64
NUMBER_CHARACTERS_MAX: Final = 32

_TO_SQUARE: Final = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"{}[]"))
# Possessive, so that a long string costs no memory for ways back.
_BRACKETS: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"|[\[{]++|[\]}]++', re.DOTALL)


def parse_object(payload: bytes) -> dict[str, object]:
    """Return the one JSON object in `payload`; anything else or dubious raises ManifestInvalid.

    Takes some 50 ms for a MiB of descriptors, and up to 3 seconds for 4 MiB made to be slow.
    """
    try:
        text = payload.decode("utf-8")
        document = _read(text) if _is_shallow(payload) else _read_in_parts(text)
    except UnicodeDecodeError:
        raise ManifestInvalid("a manifest is JSON in UTF-8; these bytes are not UTF-8") from None
    except ValueError as error:
        raise ManifestInvalid(f"a manifest is JSON; this is not: {error}") from None
    if not isinstance(document, dict):
        raise ManifestInvalid("a manifest is a JSON object")
    return document


def _read(text: str) -> Any:
    document = _DECODER.decode(text)
    if "\\u" in text:
        _check_surrogates(document)
    return document


def _read_in_parts(text: str) -> Any:
    """Return the document with a number in place of what is nested too deeply, which is read too.

    Nothing so deep can be in a field that has a meaning here. Raises ValueError.
    """
    parts = _Parts(text)
    depth = 0
    for found in _BRACKETS.finditer(text):
        start, count = found.start(), len(found[0])
        if text[start] in "[{":
            for level in range(_next_cut(depth), depth + count + 1, LEVELS_AT_ONCE):
                parts.begin(start + level - depth - 1)
            depth += count
        elif text[start] in "]}":
            for level in range(_last_cut(depth), max(0, depth - count), -LEVELS_AT_ONCE):
                parts.end(start + depth - level + 1)
            depth -= count
        if depth < 0:
            raise ValueError("a bracket is closed that was not opened")
    if depth:
        raise ValueError("it ends in the middle")
    return parts.rest()


class _Parts:
    """A text being cut into parts within parts."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._copied = 0
        self._around: list[list[str]] = [[]]

    def begin(self, at: int) -> None:
        """Begin a part there, within the one that is being read."""
        self._copy(at)
        self._around.append([])

    def end(self, at: int) -> None:
        """Read the part that ends there; a number stands in its place. Raises ValueError."""
        self._copy(at)
        _read("".join(self._around.pop()))
        self._around[-1].append("0")

    def rest(self) -> Any:
        """Return what is around all parts, read. Raises ValueError."""
        self._copy(len(self._text))
        return _read("".join(self._around[0]))

    def _copy(self, to: int) -> None:
        self._around[-1].append(self._text[self._copied : to])
        self._copied = to


def _next_cut(depth: int) -> int:
    return (depth // LEVELS_AT_ONCE + 1) * LEVELS_AT_ONCE


def _last_cut(depth: int) -> int:
    return depth // LEVELS_AT_ONCE * LEVELS_AT_ONCE


def _is_shallow(payload: bytes) -> bool:
    """Return whether it can be read at once; False also for what is not JSON."""
    if payload.count(b"[") + payload.count(b"{") <= LEVELS_AT_ONCE:
        return True
    # Escaped backslashes go first, so that each backslash left begins an escape of its own.
    plain = payload.replace(b"\\\\", b"--") if b"\\" in payload else payload
    plain = plain.replace(b'\\"', b"--")
    # Between an even number of quotes and the next lies structure, between the others a string.
    structure = b"".join(plain.split(b'"')[::2])
    brackets = structure.translate(_TO_SQUARE, _NOT_BRACKETS)
    if 2 * brackets.count(b"[") != len(brackets):
        raise ManifestInvalid("a manifest is JSON; this is not: it ends in the middle")
    for _ in range(LEVELS_AT_ONCE):
        inner = brackets.replace(b"[]", b"")  # without the innermost level
        if len(inner) in (0, len(brackets)):
            return not inner
        brackets = inner
    return False


def _check_surrogates(document: dict[str, object]) -> None:
    """Refuse strings that are not Unicode, which no database and no UTF-8 file can hold."""
    try:
        json.dumps(document, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise ManifestInvalid("the manifest has half a surrogate pair in a string") from None


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has a key twice")
    return found


def _integer(text: str) -> int:
    if len(text) > NUMBER_CHARACTERS_MAX:
        raise ValueError("a number is too long")
    return int(text)


def _fraction(text: str) -> float:
    if len(text) > NUMBER_CHARACTERS_MAX:
        raise ValueError("a number is too long")
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError("a number is too large")
    return number


def _constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a value of JSON")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_int=_integer,
    parse_float=_fraction,
    parse_constant=_constant,
)

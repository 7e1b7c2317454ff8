"""JSON that every reader reads alike: one object, UTF-8, no doubt about a single value.

Manifests are verified by one program and run by another, so anything two parsers may take
differently is refused: duplicate keys, NaN, numbers too long to be exact, lone surrogates, byte
order marks. The cost is bounded before anything is built: `_check_shape` looks at the bytes outside
of strings alone, with a handful of passes that run in C, and refuses what is nested deeply or has
more values than any honest document. It is a bound and no parser: what is not JSON is found by
`json.loads` afterwards, whose recursion and memory are bounded by then.
"""

import json
from typing import Final, NoReturn

from treescale.errors import ManifestInvalid

depth_max: Final = 64
values_max: Final = 65_536
number_characters_max: Final = 32

_TO_SQUARE: Final = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"{}[]"))


def parse_object(payload: bytes) -> dict[str, object]:
    """Return the one JSON object in `payload`; anything else or dubious raises ManifestInvalid.

    Takes at most some 40 ms for 4 MiB of anything.
    """
    _check_shape(payload)
    try:
        document = _DECODER.decode(payload.decode("utf-8"))
    except UnicodeDecodeError:
        raise ManifestInvalid("a manifest is JSON in UTF-8; these bytes are not UTF-8") from None
    except ValueError as error:
        raise ManifestInvalid(f"a manifest is JSON; this is not: {error}") from None
    if not isinstance(document, dict):
        raise ManifestInvalid("a manifest is a JSON object")
    if b"\\u" in payload:
        _check_surrogates(document)
    return document


def _check_shape(payload: bytes) -> None:
    """Refuse what would be expensive to parse."""
    # Escaped backslashes go first, so that each backslash left begins an escape of its own.
    plain = payload.replace(b"\\\\", b"--") if b"\\" in payload else payload
    plain = plain.replace(b'\\"', b"--")
    if plain.count(b'"') > 4 * values_max:  # two quotes a string; a key and a value each
        raise ManifestInvalid(f"the manifest has more than {values_max} values")
    # Between an even number of quotes and the next lies structure, between the others a string.
    structure = b"".join(plain.split(b'"')[::2])
    if sum(structure.count(mark) for mark in (b"{", b"[", b",")) > values_max:
        raise ManifestInvalid(f"the manifest has more than {values_max} values")
    brackets = structure.translate(_TO_SQUARE, _NOT_BRACKETS)
    for _ in range(depth_max):
        if not brackets:
            return
        brackets = brackets.replace(b"[]", b"")  # the innermost level
    if brackets:
        raise ManifestInvalid(f"the manifest is not JSON, or nested deeper than {depth_max} levels")


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
    if len(text) > number_characters_max:
        raise ValueError("a number is too long")
    return int(text)


def _fraction(text: str) -> float:
    if len(text) > number_characters_max:
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

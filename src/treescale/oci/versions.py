"""By which text tags sort as people read versions: 1.10 after 1.9, 2.0-rc1 before 2.0. Pure.

`latest` is above all, versions are above words, and signatures that are kept as tags below these.
A key is ASCII, compared by bytes, and made of a letter for each of these classes and of tokens:

- a number is its length, as one character, and its digits without leading zeros: longer is larger;
- the numbers of a version end with `1` before a pre-release, `2` before a variant (`-alpine`), `3`
  where nothing follows; a further number begins with `5`, so 1.9 < 1.9.1, and 1.9-rc1 < 1.9;
- whatever follows is words in lower case and numbers.
"""

import re
from typing import Final

KEY_CHARACTERS_MAX: Final = 256
"""Of a key; what follows decides nothing then."""
_LATEST: Final = "9"
_OF_VERSION: Final = "7"
_OF_WORD: Final = "5"
_OF_SIGNATURE: Final = "3"
_PRE: Final = "1"
_VARIANT: Final = "2"
_WHOLE: Final = "3"
_NUMBER: Final = "5"
_ZERO: Final = 0x30
_LENGTH_MAX: Final = 70
_SIGNATURE: Final = re.compile(r"sha(256|512)-[0-9a-f]{64,128}(\.[a-z]+)?")
_PRE_WORD: Final = r"a|b|c|rc|cr|alpha|beta|pre|preview|dev|snapshot|m|milestone|nightly|canary|ea"
_VERSION: Final = re.compile(
    rf"v?(?P<numbers>[0-9]+(?:\.[0-9]+)*)(?P<rest>(?:[-_.].*|(?:{_PRE_WORD})(?![a-z]).*)?)"
)
_BEFORE: Final = re.compile(rf"[-_.]?(?:{_PRE_WORD})(?![a-z])")
_TOKEN: Final = re.compile(r"[0-9]+|[^0-9]+")


def version_key(tag: str) -> str:
    """Return the text by which a tag sorts; of two the larger is the newer version."""
    lower = tag.lower()
    if lower == "latest":
        return _LATEST
    if _SIGNATURE.fullmatch(lower) is not None:
        return f"{_OF_SIGNATURE}{lower}"[:KEY_CHARACTERS_MAX]
    version = _VERSION.fullmatch(lower)
    if version is None:
        return f"{_OF_WORD}{_tokens(lower)}"[:KEY_CHARACTERS_MAX]
    numbers = "".join(_NUMBER + _number(one) for one in version["numbers"].split("."))
    return f"{_OF_VERSION}{numbers}{_end(version['rest'])}"[:KEY_CHARACTERS_MAX]


def _end(rest: str) -> str:
    if not rest:
        return _WHOLE
    rank = _PRE if _BEFORE.match(rest) is not None else _VARIANT
    return rank + _tokens(rest.lstrip("-_."))


def _tokens(text: str) -> str:
    return "".join(_number(one) if one.isdigit() else one for one in _TOKEN.findall(text))


def _number(digits: str) -> str:
    """Return digits so that the text of a larger number is larger."""
    significant = digits.lstrip("0")[:_LENGTH_MAX]
    return chr(_ZERO + len(significant)) + significant

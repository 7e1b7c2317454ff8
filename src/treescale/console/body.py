"""Bodies that come in: JSON of one meaning, of exactly the fields that a route takes. Pure."""

import json
import re
from typing import Any, Final, NoReturn, TypeVar

import msgspec

from treescale.errors import FieldInvalid, MediaTypeUnsupported

BODY_BYTES_MAX: Final = 16 * 1024
JSON: Final = "application/json"
_PATH: Final = re.compile(r" - at `\$\.?([^`]*)`$")
_NAMED: Final = re.compile(r"(?:required|unknown) field `([^`]+)`")
_NUL: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
"""As JSON has it; PostgreSQL's text cannot."""
_FIELD_SHOWN_MAX: Final = 100

Taken = TypeVar("Taken", bound=msgspec.Struct)


def check_type(content_type: str) -> None:
    """Raise MediaTypeUnsupported for anything but JSON; it is always UTF-8."""
    if content_type.partition(";")[0].strip().lower() != JSON:
        raise MediaTypeUnsupported(f"send the body as {JSON}")


def parse_body(payload: bytes, kind: type[Taken]) -> Taken:
    """Return the body as the route takes it; raises FieldInvalid, naming the field."""
    try:
        document = json.loads(
            payload.decode("utf-8"), object_pairs_hook=_each_once, parse_constant=_refuse
        )
        told = json.dumps(document, ensure_ascii=False)
        told.encode()  # half a pair of surrogates is no text
    except FieldInvalid:
        raise
    except UnicodeError:
        raise FieldInvalid("the body is not UTF-8", field="") from None
    except (ValueError, RecursionError) as error:
        raise FieldInvalid(f"the body is no JSON: {error}", field="") from None
    if _NUL.search(told) is not None:
        raise FieldInvalid("the body has a NUL, which no text here has", field="")
    try:
        return msgspec.convert(document, kind, strict=True)
    except msgspec.ValidationError as error:
        raise FieldInvalid(*_told(str(error))) from None


def _told(text: str) -> tuple[str, str]:
    """Return what is wrong, and of which field: "" for the body itself."""
    found = _PATH.search(text)
    what, place = text, ""
    if found is not None:
        what, place = text[: found.start()], found[1]
    named = _NAMED.search(what)
    if named is not None:
        place = f"{place}.{named[1]}" if place else named[1]
    shown = place[:_FIELD_SHOWN_MAX]
    return (f"{shown}: {what}" if shown else what), shown


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            name.encode()
            shown = name[:_FIELD_SHOWN_MAX]
            raise FieldInvalid(f"{shown}: is there twice", field=shown)
        found[name] = value
    return found


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")

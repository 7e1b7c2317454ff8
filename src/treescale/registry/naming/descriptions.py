"""What may be said of a repository or a namespace: markdown, as it was written. Pure."""

import re
from typing import Final

from treescale.errors import FieldInvalid

DESCRIPTION_BYTES_MAX: Final = 25_000
FIELD: Final = "description"
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def parse_description(text: str) -> str:
    """Return the text with plain ends of lines, and none around it; raises FieldInvalid."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").strip("\n")
    found = "" if not lines.strip() else lines
    if _CONTROL.search(found) is not None:
        raise FieldInvalid("description: it has a control character: send plain text", FIELD)
    if len(found.encode(errors="replace")) > DESCRIPTION_BYTES_MAX:
        raise FieldInvalid(
            f"description: at most {DESCRIPTION_BYTES_MAX:,} bytes: say the rest elsewhere, and "
            "link to it",
            FIELD,
        )
    return found

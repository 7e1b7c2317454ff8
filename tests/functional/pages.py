"""What docs/operations.md has people type, section by section."""

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
SECTION: Final = re.compile(r"^##+ ([^\n]+)\n(.*?)(?=^##+ |\Z)", re.DOTALL | re.MULTILINE)


def blocks(heading: str, language: str = "sh") -> list[str]:
    """Return the blocks of a section of the page, not those of the sections below it."""
    found = [text for title, text in SECTION.findall(PAGE) if title == heading]
    assert len(found) == 1, f"docs/operations.md has {len(found)} sections {heading}"
    return re.findall(rf"^```{language}\n(.*?)^```$", found[0], re.DOTALL | re.MULTILINE)

"""Templates into pages, with everything escaped that comes from anywhere else; the stylesheet.

A page may load the stylesheet of this host, send its forms to this host, and nothing else: a
script, whoever brought it in, does not run, and no other site shows a page in a frame.
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from treescale.console.web.texts import TEXTS

HTML: Final = "text/html; charset=utf-8"
CSS: Final = "text/css; charset=utf-8"
STATIC: Final = "/-/static/"
STATIC_SECONDS: Final = 365 * 86_400
POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # To this host alone. Without any, browsers would not say where a form comes from, either.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""What every page says to browsers."""
_HERE: Final = Path(__file__).parent
_HASH_CHARACTERS: Final = 16


class Renderer:
    """Makes pages; reads templates and the stylesheet once."""

    def __init__(self) -> None:
        style = (_HERE / "static/style.css").read_bytes()
        digest = hashlib.sha256(style).hexdigest()[:_HASH_CHARACTERS]
        self.static: Mapping[str, bytes] = {f"{STATIC}style.{digest}.css": style}
        """By path, which is another one when what is there is."""
        self._environment = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters["when"] = when
        self._environment.globals["t"] = SimpleNamespace(**TEXTS)
        self._environment.globals["style"] = next(iter(self.static))

    def page(self, template: str, values: Mapping[str, Any]) -> bytes:
        """Return a page in UTF-8."""
        return self._environment.get_template(template).render(values).encode()


def when(seconds: float) -> str:
    """Return a time as people read it."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%d %H:%M UTC")

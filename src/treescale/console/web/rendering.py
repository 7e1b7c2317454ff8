"""Templates into pages, with everything escaped that comes from anywhere else; what they load.

A page may load what is in `static/`, from this host, send its forms to this host, and nothing else:
a script in a page, whoever brought it in, does not run, and no other site shows a page in a frame.
"""

import gzip
import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from treescale.cluster.status import in_words as time_in_words
from treescale.console.web.markdown import markdown_html
from treescale.console.web.page import Part
from treescale.console.web.texts import TEXTS
from treescale.sizes import in_words

HTML: Final = "text/html; charset=utf-8"
KINDS: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
STATIC: Final = "/-/static/"
STATIC_SECONDS: Final = 365 * 86_400
POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
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
PARTS_KEPT_MAX: Final = 64
_HERE: Final = Path(__file__).parent
_HASH_CHARACTERS: Final = 16


@dataclass(frozen=True, slots=True)
class Static:
    """A file that pages load."""

    path: str
    """Another one when what is in it is."""
    kind: str
    content: bytes
    zipped: bytes


class Renderer:
    """Makes pages, of templates and with what they load."""

    def __init__(self) -> None:
        loaded = _loaded()
        self.static: Mapping[str, Static] = {one.path: one for one in loaded.values()}
        """By path."""
        self._parts: OrderedDict[int, tuple[Part, bytes]] = OrderedDict()
        """The very parts drawn last: what many look at is drawn once."""
        self._environment = _environment()

    def page(self, template: str, values: Mapping[str, Any]) -> bytes:
        """Return a page in UTF-8."""
        return self._environment.get_template(template).render(values).encode()

    def part(self, part: Part | None) -> bytes:
        """Return a server-sent event for a part of a page; None is a comment."""
        if part is None:
            return b":\n\n"
        known = self._parts.get(id(part))
        if known is None:
            known = self._parts[id(part)] = part, self._event(part)
            while len(self._parts) > PARTS_KEPT_MAX:
                self._parts.popitem(last=False)
        return known[1]

    def _event(self, part: Part) -> bytes:
        html = self._environment.get_template(part.template).render(part.values)
        data = msgspec.json.encode({"id": part.element, "html": html})
        return b"event: part\ndata: " + data + b"\n\n"


def when(moment: float | datetime) -> str:
    """Return a time, in seconds since 1970 or as the API has it, as people read it."""
    if not isinstance(moment, datetime):
        moment = datetime.fromtimestamp(int(moment), UTC)
    return moment.strftime("%Y-%m-%d %H:%M UTC")


def moment(time: datetime) -> str:
    """Return a time as people read what happens just now."""
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


@cache
def _environment() -> Environment:
    """Return the templates, each compiled once a process: they are the same for whoever asks."""
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "when": when,
        "moment": moment,
        "span": time_in_words,
        "size": in_words,
        "markdown": markdown_html,
    }
    environment.globals["t"] = SimpleNamespace(**TEXTS)
    environment.globals["static"] = {name: one.path for name, one in _loaded().items()}
    return environment


@cache
def _loaded() -> Mapping[str, Static]:
    return {file.name: _static(file) for file in sorted((_HERE / "static").iterdir())}


def _static(file: Path) -> Static:
    content = file.read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:_HASH_CHARACTERS]
    path = f"{STATIC}{file.stem}.{digest}{file.suffix}"
    return Static(path, KINDS[file.suffix], content, gzip.compress(content, mtime=0))

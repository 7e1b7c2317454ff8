"""Markdown of strangers into HTML that does nothing but show text. Pure.

HTML in it is text. Links lead to http, https and mail alone; an image is a link to it, for nothing
is loaded from elsewhere. No other attribute is ever written: no style, no class, no id. What is in
it stands below a page's own headings.

Brackets and stars without end take a parser of markdown quadratic time: it gives up after so many
steps, and the text is shown as it was written.
"""

from collections.abc import MutableMapping, Sequence
from functools import lru_cache
from typing import Any, Final

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererProtocol
from markdown_it.rules_block import StateBlock
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markdown_it.utils import OptionsDict
from markupsafe import Markup, escape

CHARACTERS_MAX: Final = 25_000
STEPS_MAX: Final = 4_000
"""Each looks what begins at one place; 25 KB of our own pages take 1,700."""
KNOWN_MAX: Final = 32
"""Texts whose HTML is kept."""
SCHEMES: Final = ("http://", "https://", "mailto:")
REL: Final = "nofollow noopener noreferrer"
HEADINGS_BELOW: Final = 2
"""A page has a title, and sections."""
HEADING_MAX: Final = 6
_FENCE: Final = "fence"
_STEPS: Final = "steps"
_CHAINS: Final = ("paragraph", "reference", "blockquote", "list")
"""Of rules that may end what is under way."""


def is_link(url: str) -> bool:
    """Return whether a link may lead there; any other stays text."""
    return url.lower().startswith(SCHEMES)


class _StepsTaken(Exception):
    """More than are given."""


@lru_cache(maxsize=KNOWN_MAX)
def markdown_html(text: str) -> Markup:
    """Return what is shown of a text."""
    shown = text[:CHARACTERS_MAX]
    try:
        return Markup(_MARKDOWN.render(shown, {_STEPS: 0}))  # noqa: S704  the one place
    except _StepsTaken:
        return Markup("<pre>{}</pre>").format(shown)


def _count_inline(state: StateInline, silent: bool) -> bool:  # noqa: FBT001  as rules are called
    del silent
    return _count(state.env)


def _count_block(state: StateBlock, line: int, end: int, silent: bool) -> bool:  # noqa: FBT001
    del line, end, silent
    return _count(state.env)


def _count(env: MutableMapping[str, Any]) -> bool:
    """Return False, as a rule that nothing matches; raises _StepsTaken."""
    env[_STEPS] += 1
    if env[_STEPS] > STEPS_MAX:
        raise _StepsTaken
    return False


def _bare(state: StateCore) -> None:
    """Take away all that says more than which text is what."""
    for token in state.tokens:
        _strip(token)
        for child in token.children or ():
            _strip(child)


def _strip(token: Token) -> None:
    kept = "start" if token.type == "ordered_list_open" else "src" if token.type == "image" else ""
    attrs = {name: value for name, value in token.attrs.items() if name in (kept, "href")}
    if token.type == "link_open":
        attrs["rel"] = REL
    if token.type == _FENCE:
        token.info = ""
    if token.type in ("heading_open", "heading_close"):
        token.tag = f"h{min(int(token.tag[1:]) + HEADINGS_BELOW, HEADING_MAX)}"
    token.attrs = attrs


def _image(
    renderer: RendererProtocol,
    tokens: Sequence[Token],
    place: int,
    options: OptionsDict,
    env: MutableMapping[str, Any],
) -> str:
    """Return a link to the image; in a link its words alone."""
    del renderer, options, env
    token = tokens[place]
    source = str(token.attrs.get("src", ""))
    words = escape(token.content or source)
    depth = sum(one.nesting for one in tokens[:place] if one.type in ("link_open", "link_close"))
    if depth or not is_link(source):
        return str(words)
    return f'<a href="{escape(source)}" rel="{REL}">{words}</a>'


def _made() -> MarkdownIt:
    made = MarkdownIt("commonmark", {"html": False, "linkify": False, "typographer": False})
    made.enable(["table", "strikethrough"])
    setattr(made, "validateLink", is_link)  # noqa: B010  a method, replaced as its manual has it
    made.core.ruler.push("bare", _bare)
    made.inline.ruler.before("text", _STEPS, _count_inline)
    made.block.ruler.before("table", _STEPS, _count_block, {"alt": [*_CHAINS]})
    made.add_render_rule("image", _image)
    return made


_MARKDOWN: Final = _made()

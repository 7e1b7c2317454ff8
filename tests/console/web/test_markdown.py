"""Markdown of strangers: whatever it says, what comes out is text, links to the web and tables."""

from html.parser import HTMLParser
from pathlib import Path
from time import process_time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.tables import each_row
from treescale.console.web import markdown
from treescale.console.web.markdown import CHARACTERS_MAX, markdown_html

TAGS = {
    *("a", "p", "h3", "h4", "h5", "h6", "ul", "ol", "li", "pre", "code", "em", "strong", "s"),
    *("blockquote", "hr", "br", "table", "thead", "tbody", "tr", "th", "td"),
}
ATTRIBUTES = {"a": {"href", "rel"}, "ol": {"start"}}
HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java\nscript:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "[x](vbscript:x)",
    "[x](//evil.example)",
    "[x](/-/sign-out)",
    "<javascript:alert(1)>",
    "![x](javascript:alert(1))",
    '![x"onerror="alert(1)](https://e.example/x.png)',
    '[x](https://e.example "onmouseover=alert(1)")',
    '[x](https://e.example/"onmouseover="alert(1))',
    "[x]: javascript:alert(1)\n\n[x]",
    '```" onload="alert(1)\n```',
    "# <svg/onload=alert(1)>",
    "| <b> | `<i>` |\n|:-:|---|\n| [x](javascript:1) | ![](x) |",
    "`</code><script>alert(1)</script>`",
    "<!-- --><style>*{display:none}</style>",
    "[![x](https://a.example)](javascript:alert(1))",
)
PIECES = st.sampled_from(
    [
        *HOSTILE,
        *"[]()<>!`*_~|#\\&\"'\n :-",
        "javascript:",
        "https://",
        "on",
        "<a href=",
        "\n\n",
        "    ",
    ]
)


class Looking(HTMLParser):
    """Finds what must not be in it."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.links: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS, tag
        assert {name for name, _ in attrs} <= ATTRIBUTES.get(tag, set()), attrs
        given = dict(attrs)
        if tag == "a":
            assert "a" not in self.open
            assert (given["href"] or "").lower().startswith(("http://", "https://", "mailto:"))
            assert given["rel"] == "nofollow noopener noreferrer"
            self.links.append(given["href"] or "")
        if tag == "ol":
            assert (given.get("start", "1") or "").isdigit()
        if tag not in ("hr", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)  # and no end, as HTMLParser would have it

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(decl)

    def handle_pi(self, data: str) -> None:
        raise AssertionError(data)

    def unknown_decl(self, data: str) -> None:
        raise AssertionError(data)


def looked(text: str) -> list[str]:
    """Return the links of what is shown of a text, which is harmless."""
    looking = Looking()
    looking.feed(str(markdown_html(text)))
    looking.close()
    assert looking.open == []
    return looking.links


@each_row("text", HOSTILE)
def test_what_is_hostile_does_nothing(text: str) -> None:
    assert all("javascript" not in link for link in looked(text))


@given(st.lists(PIECES, max_size=40).map("".join) | st.text(max_size=200))
@example("***")
def test_whatever_it_says_it_is_text_and_links(text: str) -> None:
    looked(text)


def test_what_is_shown() -> None:
    shown = markdown_html("# App\n\n*It* works: [site](https://e.example/a?b=1&c) ![pic](http://i)")
    assert shown == (
        "<h3>App</h3>\n<p><em>It</em> works: "
        '<a href="https://e.example/a?b=1&amp;c" rel="nofollow noopener noreferrer">site</a> '
        '<a href="http://i" rel="nofollow noopener noreferrer">pic</a></p>\n'
    )
    assert looked("[![pic](https://i.example)](https://e.example)") == ["https://e.example"]


@each_row("piece", ["[", "[[](", "  - a\n", "**a", "|a|b\n|-|-\n|c|d\n", "<b>"])
def test_what_takes_long_is_shown_as_it_was_written(piece: str) -> None:
    text = (piece * CHARACTERS_MAX)[:CHARACTERS_MAX]
    begun = process_time()
    shown = markdown_html(text)
    assert process_time() - begun < 2.0
    assert shown.startswith("<pre>")
    looked(text)


def test_without_the_check_of_links_a_script_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markdown._MARKDOWN, "validateLink", lambda _: True)
    markdown_html.cache_clear()
    with pytest.raises(AssertionError):
        looked("[x](javascript:alert(1))")
    markdown_html.cache_clear()


def test_without_the_rule_attributes_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markdown, "_strip", lambda _: None)
    markdown_html.cache_clear()
    with pytest.raises(AssertionError):
        looked('[x](https://e.example "onmouseover=alert(1)")')
    markdown_html.cache_clear()


def test_nothing_else_is_taken_for_safe() -> None:
    web = Path(markdown.__file__).parent
    for file in [*web.rglob("*.py"), *web.rglob("*.html")]:
        text = file.read_text()
        assert "|safe" not in text.replace(" ", ""), file
        assert "autoescape false" not in text, file
        assert "Markup(" not in text or file.name == "markdown.py", file

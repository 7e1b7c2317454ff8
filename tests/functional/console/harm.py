"""What is put into a page to see that it would be found."""

from typing import Final


def _rule(text: str) -> str:
    return f"() => {{ document.styleSheets[0].insertRule(`{text}`) }}"


REFUSED: Final = {
    "a script": """() => {
      const one = document.createElement("script");
      one.textContent = "window.hacked = 1";
      document.querySelector("main").append(one);
    }""",
    "a handler": """() => {
      const one = document.createElement("p");
      one.innerHTML = "<img alt='' src=x onerror='window.hacked = 1'>";
      document.querySelector("main").append(one);
    }""",
    "another host": """() => fetch("https://evil.example/", {mode: "no-cors"}).catch(() => 0)""",
    "a style": """() => document.querySelector("main").setAttribute("style", "color: red")""",
}
"""By the policy of content; a message of the browser tells."""
IN_THE_WAY: Final = {
    "too wide": """() => {
      const one = document.createElement("div");
      one.textContent = "a".repeat(200);
      document.querySelector("main").append(one);
    }""",
    "too faint": _rule("main label { color: #ddd }"),
    "too dark at night": _rule(
        "@media (prefers-color-scheme: dark) { main label { color: #333 } }",
    ),
    "without a name": """() => document.querySelector("main label").remove()""",
}
"""Of people."""
NO_OUTLINE: Final = _rule("*:focus-visible { outline: none !important }")

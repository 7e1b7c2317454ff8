"""Somebody who looks at pages in Chromium, and what must not happen while they do.

A message of the browser (a script that fails, what the policy of content refuses), a part that
cannot be loaded, an answer of 500: each is a problem, and fails the test that the visitor is of.
"""

import base64
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Playwright, Response

from tests.functional.server import Account, Server

CHROMIUM: Final = "/usr/bin/chromium"
MILLISECONDS_MAX: Final = 15_000
TABS_MAX: Final = 150
PICTURE_QUALITY: Final = 70
DOCUMENT: Final = Path(__file__).parents[3] / "docs/console.md"
VIOLATIONS: Final = {"resultTypes": ["violations"]}
OF_COLOURS: Final = {**VIOLATIONS, "runOnly": ["color-contrast", "link-in-text-block"]}
GRAVE: Final = ("serious", "critical")
_STATUS_ERROR: Final = "Failed to load resource: the server responded with a status of"
_FOCUSED: Final = """() => {
  const one = document.activeElement;
  const label = one.labels && one.labels.length ? one.labels[0].textContent : "";
  return [one.getAttribute("aria-label"), label, one.textContent, one.value || ""]
    .map((text) => (text || "").trim().replace(/\\s+/g, " "));
}"""
_OUTLINE: Final = "() => getComputedStyle(document.activeElement).outlineStyle"
_TOO_WIDE: Final = """() => {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= width) return [];
  const wide = [...document.querySelectorAll("body *")].filter((one) =>
    !one.closest(".scroll") && one.getBoundingClientRect().left + one.scrollWidth > width + 1);
  return [`${document.documentElement.scrollWidth} px`,
          ...wide.slice(-4).map((one) => one.outerHTML.slice(0, 200))];
}"""


@dataclass(frozen=True)
class Look:
    """What somebody looks with."""

    width: int = 1280
    height: int = 900
    dark: bool = False
    scripts: bool = True
    agent: str | None = None
    """What the browser calls itself; None: its name."""


DESKTOP: Final = Look()
PHONE: Final = Look(360, 740)
PHONE_AT_NIGHT: Final = Look(360, 740, dark=True)
WITHOUT_SCRIPTS: Final = Look(scripts=False)


def launch(play: Playwright) -> Browser:
    """Return a Chromium; of root it asks for no sandbox, and what it opens is our own."""
    return play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])


@dataclass
class Visitor:
    """A tab of a browser, which no other visitor shares anything with."""

    page: Page
    server: Server
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(MILLISECONDS_MAX)
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.problems.append(f"{error}"))
        self.page.on("response", self._see)

    def _hear(self, said: ConsoleMessage) -> None:
        if said.type in ("error", "warning") and not said.text.startswith(_STATUS_ERROR):
            self.problems.append(f"{self.page.url}: {said.text}")

    def _see(self, response: Response) -> None:
        failed = response.status >= (500 if response.request.is_navigation_request() else 400)
        if failed:
            self.problems.append(f"{response.status} {response.url}")

    def open(self, path: str, status: int = 200) -> Page:
        """Open a page."""
        answer = self.page.goto(f"http://{self.server.address}{path}", wait_until="load")
        assert answer is not None
        assert answer.status == status, f"{path}: {answer.status}\n{self.words}"
        return self.page

    def sign_in(self, account: Account) -> None:
        """Sign in on the page for that."""
        self.open("/-/sign-in")
        self.page.get_by_label("User name").fill(account.name)
        self.page.get_by_label("Password", exact=True).fill(account.password)
        self.page.get_by_role("main").get_by_role("button", name="Sign in").click()
        assert "/-/sign-in" not in self.page.url, self.words

    def come_back(self, account: Account, kept: dict[str, list[Any]]) -> None:
        """Sign in, or be signed in still, by what was kept of the first time."""
        if account.name in kept:
            self.page.context.add_cookies(kept[account.name])
            return
        self.sign_in(account)
        kept[account.name] = [
            {name: cookie[name] for name in ("name", "value", "domain", "path")}
            for cookie in self.page.context.cookies()
        ]

    @property
    def words(self) -> str:
        """Return what is read on the page."""
        return " ".join(self.page.locator("body").inner_text().split())

    @property
    def text(self) -> str:
        """Return all text of the page, also what is folded away."""
        return " ".join((self.page.locator("body").text_content() or "").split())

    def click(self, name: str, role: Any = "button") -> None:
        """Click what is called so on the page itself, not in its header."""
        self.page.get_by_role("main").get_by_role(role, name=name).first.click()

    def field(self, label: str) -> Locator:
        """Return the field with this label."""
        return self.page.get_by_role("main").get_by_label(label).first

    def tab_to(self, *names: str) -> None:
        """Press Tab until what has the focus is called so, and shows that it has it."""
        for _ in range(TABS_MAX):
            self.page.keyboard.press("Tab")
            said: list[str] = self.page.evaluate(_FOCUSED)
            if any(text == name or text.startswith(f"{name} ") for text in said for name in names):
                assert self.page.evaluate(_OUTLINE) != "none", f"{names}: its focus is not seen"
                return
        raise AssertionError(f"Tab reaches nothing called {names} on {self.page.url}")

    def type_into(self, label: str, text: str) -> None:
        """Go to a field by Tab, and type."""
        self.tab_to(label)
        self.page.keyboard.type(text)

    def press(self, *names: str) -> None:
        """Go to a button or link by Tab, and press Enter."""
        self.tab_to(*names)
        with self.page.expect_navigation():
            self.page.keyboard.press("Enter")

    def check_for_everybody(self) -> None:
        """Fail for what keeps somebody out."""
        found = self.in_the_way()
        assert not found, "\n".join(found)

    def in_the_way(self) -> list[str]:
        """Return what axe finds to be serious or critical, by day and by night, or too wide."""
        found = _violations(Axe().run(self.page, options=VIOLATIONS).response)
        self.page.emulate_media(color_scheme="dark")
        found += _violations(self.page.evaluate("(asked) => axe.run(document, asked)", OF_COLOURS))
        self.page.emulate_media(color_scheme="light")
        size = self.page.viewport_size
        assert size is not None
        self.page.set_viewport_size({"width": PHONE.width, "height": PHONE.height})
        found += [f"wider than a phone: {one}" for one in self.page.evaluate(_TOO_WIDE)]
        self.page.set_viewport_size(size)
        return [f"{self.page.url}: {one}" for one in found]


def keep_pictures(visitor: Visitor, name: str) -> None:
    """Write what docs/console.md shows: on a desk by day, on a phone by night; if asked for."""
    place = os.environ.get("SCREENSHOTS")
    if not place:
        return
    wanted = DOCUMENT.read_text(encoding="utf-8")
    Path(place).mkdir(parents=True, exist_ok=True)
    page, looks = visitor.page, {name: (DESKTOP, "light"), f"{name}-phone": (PHONE, "dark")}
    for title, (look, scheme) in looks.items():
        if f"(images/{title}.webp)" not in wanted:
            continue
        page.set_viewport_size({"width": look.width, "height": look.height})
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        shown = page.context.new_cdp_session(page).send(
            "Page.captureScreenshot", {"format": "webp", "quality": PICTURE_QUALITY}
        )
        (Path(place) / f"{title}.webp").write_bytes(base64.b64decode(shown["data"]))
    page.set_viewport_size({"width": DESKTOP.width, "height": DESKTOP.height})
    page.emulate_media(color_scheme="light")


def _violations(response: dict[str, Any]) -> list[str]:
    return [
        f"{one['impact']} {one['id']}: {one['help']}: {[each['html'] for each in one['nodes'][:4]]}"
        for one in response["violations"]
        if one["impact"] in GRAVE
    ]


@contextmanager
def visiting(browser: Browser, server: Server, look: Look = DESKTOP) -> Iterator[Visitor]:
    """Give a visitor without cookies for a block; fails in the end for the problems they met."""
    context = browser.new_context(
        viewport={"width": look.width, "height": look.height},
        color_scheme="dark" if look.dark else "light",
        java_script_enabled=look.scripts,
        user_agent=look.agent,
        permissions=["clipboard-read", "clipboard-write"],
    )
    visitor = Visitor(context.new_page(), server)
    yield visitor
    context.close()
    assert not visitor.problems, "\n".join(visitor.problems)

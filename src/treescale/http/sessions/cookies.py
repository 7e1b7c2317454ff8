"""Cookies: one for the session, one for a sign-on that is under way. Pure.

Over TLS their names begin with `__Host-`, so that a browser takes them from nobody but this very
host, by TLS, for all paths. Without TLS they are set for whoever sits at this machine alone.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

SESSION: Final = "treescale"
SIGN_ON: Final = "treescale-sign-on"
HOST_PREFIX: Final = "__Host-"
COOKIE_CHARACTERS_MAX: Final = 3000
_VALUE: Final = re.compile(r"[A-Za-z0-9_.~-]*")


@dataclass(frozen=True, slots=True)
class Cookie:
    """A cookie to set; without a value it is to go."""

    name: str
    value: str
    seconds: int | None = None
    """None: until the browser ends."""

    def header(self, *, secure: bool) -> str:
        """Return the value of Set-Cookie.

        `Lax`: it comes along where a link, or a provider's redirect, leads here, and with no
        request that another site makes in the background, or posts.
        """
        assert _VALUE.fullmatch(self.value), "it stands unquoted"
        parts = [f"{name_of(self.name, secure=secure)}={self.value}", "Path=/"]
        if not self.value:
            parts.append("Max-Age=0")
        elif self.seconds is not None:
            parts.append(f"Max-Age={self.seconds}")
        parts += ["HttpOnly", "SameSite=Lax"]
        if secure:
            parts.append("Secure")
        return "; ".join(parts)


def name_of(name: str, *, secure: bool) -> str:
    """Return what the cookie is called."""
    return f"{HOST_PREFIX}{name}" if secure else name


def read_cookie(headers: Iterable[str], name: str, *, secure: bool) -> str:
    """Return a cookie's value, "" without it, and where it comes twice: one of them is foreign."""
    wanted = name_of(name, secure=secure)
    pairs = (word.strip().partition("=") for line in headers for word in line.split(";"))
    found = [value for key, _, value in pairs if key == wanted]
    if len(found) != 1 or len(found[0]) > COOKIE_CHARACTERS_MAX:
        return ""
    return found[0] if _VALUE.fullmatch(found[0]) else ""

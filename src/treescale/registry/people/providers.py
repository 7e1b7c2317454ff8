"""Whether a provider of sign-on can be as somebody wants to add it. Pure."""

import re
from typing import Final
from urllib.parse import urlsplit

from treescale.errors import NameInvalid, RequestInvalid
from treescale.metadata.identity.providers import Provider
from treescale.metadata.identity.terms import AUTO, INVITE, Terms
from treescale.oci.names import check_namespace
from treescale.registry.organisations import parse_role

TEXT_CHARACTERS_MAX: Final = 1024
ENTRIES_MAX: Final = 200
OPENID: Final = "openid"
_DOMAIN: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_WORD: Final = re.compile(r"[!#-\[\]-~]{1,200}")
"""A scope (RFC 6749, 3.3), or the name of a claim."""


def checked(provider: Provider) -> Provider:
    """Return a provider that can be added; raises RequestInvalid, NameInvalid."""
    try:
        check_namespace(provider.name)
    except NameInvalid:
        raise NameInvalid(
            "a provider's name is lower-case letters and digits, joined by '.', '_' or '-'"
        ) from None
    _check_issuer(provider.issuer)
    for what, text in (("client id", provider.client_id), ("secret", provider.client_secret)):
        if text is not None and not _is_text(text):
            raise RequestInvalid(f"the client's {what} is text of one line, and not empty")
    _check_terms(provider.terms)
    return provider


def _check_issuer(issuer: str) -> None:
    wrong = RequestInvalid(
        "an issuer is a URL as its discovery document has it, such as https://login.example.com"
    )
    if not _is_text(issuer) or " " in issuer or not issuer.isascii():
        raise wrong
    parts = urlsplit(issuer)
    if parts.scheme not in ("https", "http") or not parts.hostname or "@" in parts.netloc:
        raise wrong
    if parts.query or parts.fragment:
        raise wrong


def _check_terms(terms: Terms) -> None:
    lists = (terms.domains, terms.groups, terms.required_groups, terms.scopes)
    if any(len(each) > ENTRIES_MAX for each in lists):
        raise RequestInvalid(f"there may be at most {ENTRIES_MAX} of each")
    for domain in terms.domains:
        if _DOMAIN.fullmatch(domain) is None:
            raise RequestInvalid(f"{domain[:100]!r} is no domain: say example.org")
    if OPENID not in terms.scopes or any(_WORD.fullmatch(one) is None for one in terms.scopes):
        raise RequestInvalid("scopes are words, and openid is one of them")
    if _WORD.fullmatch(terms.groups_claim) is None:
        raise RequestInvalid("a claim has a name without blanks, such as groups")
    if terms.create not in (AUTO, INVITE):
        raise RequestInvalid(f"create is {AUTO} or {INVITE}")
    for one in terms.groups:
        parse_role(one.role)
        check_namespace(one.organisation)
    named = (*terms.required_groups, *(one.group for one in terms.groups))
    if not all(_is_text(one) for one in named):
        raise RequestInvalid("a group has a name of one line")


def _is_text(text: str) -> bool:
    return 0 < len(text) <= TEXT_CHARACTERS_MAX and text.isprintable()

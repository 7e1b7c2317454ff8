"""The code flow of OpenID Connect, with PKCE, as a client (OpenID Connect Core 1.0, 3.1; RFC 9700).

What a sign-on needs until it comes back is in a cookie of the browser that began it, and nowhere
else. `state` is the hash of that cookie, so the answer counts in that browser alone; nonce and code
verifier are made of its secret. The provider is asked at its own addresses, as its discovery
document has them, by the client that asks nothing it must not.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import quote, urlencode

import msgspec

from treescale.auth.id_tokens import Expected, IdToken, look, verify_id_token
from treescale.errors import (
    AddressForbidden,
    IdTokenInvalid,
    IssuerAway,
    ManifestInvalid,
    OutboundFailed,
    SignOnRefused,
)
from treescale.metadata.identity.providers import Provider
from treescale.oci.strict_json import parse_object
from treescale.outbound.answers import Answer
from treescale.outbound.urls import parse_url
from treescale.registry.issuers.keys import Asking, Discovered, PublishedKeys
from treescale.registry.people.claims import lacks
from treescale.registry.people.sessions import derived, encoded

PENDING_SECONDS: Final = 600.0
"""A sign-on that takes longer is begun anew."""
CODE_CHARACTERS_MAX: Final = 4096
_ERROR: Final = re.compile(r"[a-z_]{1,60}")
_FORM: Final = "application/x-www-form-urlencoded"
_HTTPS: Final = "https://"
_AWAY: Final = "the provider cannot be used now: {what}"


class Pending(msgspec.Struct, frozen=True):
    """A sign-on that is under way, as its browser keeps it."""

    secret: str
    provider: str
    expires: float
    next: str = ""
    session: str = ""
    """The id of the session whose account is to be bound to it."""
    invitation: str = ""
    reset: str = ""

    def cookie(self) -> str:
        """Return it as a cookie's value."""
        return encoded(msgspec.json.encode(self))


def read_pending(cookie: str) -> Pending:
    """Return what a browser brings back; raises SignOnRefused."""
    padded = cookie + "=" * (-len(cookie) % 4)
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(padded), type=Pending)
    except (ValueError, msgspec.MsgspecError):
        raise _stale() from None


def state_of(cookie: str) -> str:
    """Return what the provider is to send back."""
    return encoded(hashlib.sha256(f"state:{cookie}".encode()).digest())


class OpenId:
    """Asks providers."""

    def __init__(self, published: PublishedKeys, client: Callable[[], Awaitable[Asking]]) -> None:
        """`client` returns what may ask by then."""
        self._published = published
        self._client = client

    async def address(self, provider: Provider, pending: Pending, redirect_uri: str) -> str:
        """Return where the browser goes to; raises IssuerAway."""
        found = await self._published.discover(provider.issuer)
        endpoint = _endpoint(found, "authorization_endpoint")
        challenge = hashlib.sha256(derived(pending.secret, "verifier").encode()).digest()
        parameters = {
            "response_type": "code",
            "client_id": provider.client_id,
            "redirect_uri": redirect_uri,
            "scope": " ".join(provider.terms.scopes),
            "state": state_of(pending.cookie()),
            "nonce": derived(pending.secret, "nonce"),
            "code_challenge": encoded(challenge),
            "code_challenge_method": "S256",
        }
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(parameters)}"

    async def claims(
        self,
        provider: Provider,
        pending: Pending,
        redirect_uri: str,
        query: Mapping[str, str],
        now: float,
    ) -> tuple[IdToken, Mapping[str, object]]:
        """Return whom the provider vouches for, and what else it says of them.

        Raises SignOnRefused for an answer that is not to this question, IdTokenInvalid, IssuerAway.
        """
        found = await self._published.discover(provider.issuer)
        _check_issuer(provider, found, query)
        told = await self._redeem(provider, found, pending, redirect_uri, _code(query))
        text = told.get("id_token")
        if not isinstance(text, str):
            raise IssuerAway(_AWAY.format(what="it gives no ID token"))
        keys = await self._published.keys(provider.issuer, look(text).key_id)
        token = verify_id_token(text, keys, Expected(provider.issuer, (provider.client_id,)), now)
        _check_client(token.claims, provider.client_id)
        nonce = token.claims.get("nonce")
        wanted = derived(pending.secret, "nonce")
        if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode(), wanted.encode()):
            raise IdTokenInvalid("the ID token was made for another sign-on")
        more = {} if not lacks(provider.terms, token.claims) else await self._more(found, told)
        if more.get("sub", token.subject) != token.subject:
            raise SignOnRefused("the provider says two things of who this is")
        return token, {**more, **token.claims}

    async def _redeem(
        self,
        provider: Provider,
        found: Discovered,
        pending: Pending,
        redirect_uri: str,
        code: str,
    ) -> Mapping[str, object]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": derived(pending.secret, "verifier"),
        }
        headers = {"Content-Type": _FORM, "Accept": "application/json"}
        if provider.client_secret is None:
            form["client_id"] = provider.client_id
        elif _takes_basic(found.document):
            headers["Authorization"] = _basic(provider.client_id, provider.client_secret)
        else:
            form |= {"client_id": provider.client_id, "client_secret": provider.client_secret}
        endpoint = _endpoint(found, "token_endpoint")
        answer = await self._ask("POST", endpoint, headers, urlencode(form).encode())
        if answer.status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise SignOnRefused(
                "the provider does not take this code, or does not know this registry: begin the "
                "sign-on anew; if it lasts, its client id, secret or redirect URL is wrong"
            )
        if answer.status != HTTPStatus.OK:
            raise IssuerAway(_AWAY.format(what=f"it answers {answer.status}"))
        return _object(answer.body)

    async def _more(self, found: Discovered, told: Mapping[str, object]) -> Mapping[str, object]:
        """Return what the provider says elsewhere, if it does (OpenID Connect Core 1.0, 5.3)."""
        token = told.get("access_token")
        if "userinfo_endpoint" not in found.document or not isinstance(token, str):
            return {}
        if not (token.isascii() and token.isprintable()):
            return {}
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        answer = await self._ask("GET", _endpoint(found, "userinfo_endpoint"), headers)
        if answer.status != HTTPStatus.OK:
            return {}
        more = _object(answer.body)
        return more if "sub" in more else {}

    async def _ask(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes = b""
    ) -> Answer:
        client = await self._client()
        try:
            return await client.ask(method, url, headers=headers, body=body)
        except (AddressForbidden, OutboundFailed) as error:
            raise IssuerAway(_AWAY.format(what=error)) from None


def _endpoint(found: Discovered, name: str) -> str:
    """Return an address of the provider, encrypted if its issuer's is; raises IssuerAway."""
    text = found.document.get(name)
    if not isinstance(text, str):
        raise IssuerAway(_AWAY.format(what=f"its discovery document names no {name}"))
    try:
        url = parse_url(text)
    except AddressForbidden as error:
        raise IssuerAway(_AWAY.format(what=f"its {name} is none: {error}")) from None
    if found.issuer.startswith(_HTTPS) and url.scheme != "https":
        raise IssuerAway(_AWAY.format(what=f"its {name} is not encrypted"))
    return str(url)


def _check_issuer(provider: Provider, found: Discovered, query: Mapping[str, str]) -> None:
    """Raise SignOnRefused for the answer of another provider (RFC 9207)."""
    said = query.get("iss")
    promised = found.document.get("authorization_response_iss_parameter_supported") is True
    if said is None and not promised:
        return
    if said != provider.issuer:
        raise SignOnRefused("this is the answer of another provider: begin the sign-on anew")


def _check_client(claims: Mapping[str, object], client_id: str) -> None:
    """Raise IdTokenInvalid for a token that was given to another (OpenID Connect Core, 3.1.3.7)."""
    audience, given_to = claims.get("aud"), claims.get("azp")
    several = isinstance(audience, list) and len(audience) > 1
    if (given_to is not None or several) and given_to != client_id:
        raise IdTokenInvalid("the ID token was given to another client")


def _code(query: Mapping[str, str]) -> str:
    error = query.get("error")
    if error is not None:
        word = error if _ERROR.fullmatch(error) else "an error"
        raise SignOnRefused(f"the provider says {word}: begin the sign-on anew")
    code = query.get("code", "")
    if not 0 < len(code) <= CODE_CHARACTERS_MAX:
        raise SignOnRefused("the provider sent no code: begin the sign-on anew")
    return code


def _takes_basic(document: Mapping[str, object]) -> bool:
    methods = document.get("token_endpoint_auth_methods_supported")
    return not isinstance(methods, list) or "client_secret_basic" in methods


def _basic(name: str, secret: str) -> str:
    """Return the credentials of a client (RFC 6749, 2.3.1)."""
    pair = f"{quote(name, safe='')}:{quote(secret, safe='')}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def _object(body: bytes) -> Mapping[str, object]:
    try:
        return parse_object(body)
    except ManifestInvalid:
        raise IssuerAway(_AWAY.format(what="its answer cannot be read")) from None


def _stale() -> SignOnRefused:
    return SignOnRefused(
        "this sign-on was begun in another browser, or too long ago: begin it anew"
    )

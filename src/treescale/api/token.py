"""The Docker token service at /token (Docker "Token Authentication"; OAuth2 form of the same).

GET with Basic credentials, or without for the anonymous; POST with a form, grants `password` and
`refresh_token`. What is granted is always the intersection of what was asked for and what is
allowed, with status 200; only wrong credentials are refused.
"""

from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qs

from aiohttp import web

from treescale.api.call import Call, json_response
from treescale.auth.policy import ANONYMOUS, Principal
from treescale.auth.scopes import CATALOG, asks_for_catalog, parse_scopes
from treescale.errors import MediaTypeUnsupported, RequestInvalid, Unsupported

form_bytes_max: Final = 64 * 1024
form_fields_max: Final = 100
FORM: Final = "application/x-www-form-urlencoded"


async def issue_token(call: Call) -> web.StreamResponse:
    """Answer /token, whichever way it is asked."""
    if call.request.method in ("GET", "HEAD"):
        return await _issue_for_query(call)
    if call.request.method == "POST":
        return await _issue_for_form(call)
    raise Unsupported("ask for a token with GET or POST")


async def _issue_for_query(call: Call) -> web.StreamResponse:
    principal = await call.rooms.guard.basic(call.request)
    offline = call.parameter("offline_token") == "true" and principal is not None
    return await _answer(call, principal or ANONYMOUS, call.parameters("scope"), refresh=offline)


async def _issue_for_form(call: Call) -> web.StreamResponse:
    form = await _read_form(call)
    grant = form.get("grant_type", "")
    guard = call.rooms.guard
    if grant == "password":
        principal = await guard.login.authenticate(
            form.get("username", ""),
            form.get("password", ""),
            source=guard.client_address(call.request),
        )
    elif grant == "refresh_token":
        principal = await guard.tokens.redeem(form.get("refresh_token", ""))
    else:
        raise RequestInvalid("grant_type must be password or refresh_token")
    offline = form.get("access_type") == "offline"
    return await _answer(call, principal, [form.get("scope", "")], refresh=offline)


async def _read_form(call: Call) -> dict[str, str]:
    if call.request.content_type != FORM:
        raise MediaTypeUnsupported(f"send the form as {FORM}")
    payload = await call.body.read(form_bytes_max)
    try:
        fields = parse_qs(
            payload.decode(),
            keep_blank_values=True,
            strict_parsing=True,
            max_num_fields=form_fields_max,
            errors="strict",
        )
    except ValueError:
        raise RequestInvalid("the form cannot be read: name=value&name=value in UTF-8") from None
    return {name: values[0] for name, values in fields.items()} | {
        "scope": " ".join(fields.get("scope", []))
    }


async def _answer(
    call: Call, principal: Principal, scopes: list[str], *, refresh: bool
) -> web.StreamResponse:
    """Answer with a token of the granted scopes, in the words of both protocols."""
    tokens = call.rooms.guard.tokens
    issued = await tokens.issue(principal, parse_scopes(scopes), catalog=asks_for_catalog(scopes))
    granted = [CATALOG] * issued.catalog + [str(access) for access in issued.granted]
    answer: dict[str, object] = {
        "token": issued.token,
        "access_token": issued.token,
        "expires_in": issued.expires_in,
        "issued_at": datetime.fromtimestamp(issued.issued_at, UTC).isoformat(timespec="seconds"),
        "scope": " ".join(granted),
    }
    if refresh:
        answer["refresh_token"] = await tokens.refresh_token(principal)
    return json_response(call, answer, "application/json", {"Cache-Control": "no-store"})

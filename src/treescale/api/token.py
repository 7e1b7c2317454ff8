"""The Docker token service at /token (Docker "Token Authentication"; OAuth2 form of the same).

GET with Basic credentials, or without for the anonymous; POST with a form, grants `password`,
`refresh_token` and token exchange (RFC 8693), in which an ID token becomes a robot's secret. What
is granted is always the intersection of what was asked for and what is allowed, with status 200;
only credentials that are wrong, or not understood, are refused.

Refresh tokens are for who asks with a form, and keeps them apart from a password. `docker login`
would put one into `~/.docker/config.json` in place of the password, where other programs look for
that (Kubernetes' imagePullSecrets, podman, oras and so on): so it gets none, and keeps what it was
given. Those that it got of earlier versions go on.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qs

from aiohttp import web

from treescale.auth.policy import ANONYMOUS, Principal
from treescale.auth.scopes import CATALOG, asks_for_catalog, parse_scopes
from treescale.errors import MediaTypeUnsupported, RequestInvalid, Unsupported
from treescale.http.call import Call, json_response
from treescale.http.request_record import note_user

FORM_BYTES_MAX: Final = 64 * 1024
FORM_FIELDS_MAX: Final = 200
FORM: Final = "application/x-www-form-urlencoded"
EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
SUBJECT_TYPES: Final = frozenset(
    {"urn:ietf:params:oauth:token-type:id_token", "urn:ietf:params:oauth:token-type:jwt"}
)
ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105  a type
KEEPS_NO_REFRESH_TOKEN: Final = frozenset({"docker", "containerd-client"})
"""Clients whose `login` writes docker's file: docker, and nerdctl under containerd's name."""

_Fields = Mapping[str, Sequence[str]]


async def issue_token(call: Call) -> web.StreamResponse:
    """Answer /token, whichever way it is asked."""
    if call.request.method in ("GET", "HEAD"):
        return await _issue_for_query(call)
    if call.request.method == "POST":
        return await _issue_for_form(call)
    raise Unsupported("ask for a token with GET or POST")


async def _issue_for_query(call: Call) -> web.StreamResponse:
    principal = await call.rooms.authenticator.registry_login(call.request)
    scopes = call.form_parameters("scope")
    return await _answer(call, principal or ANONYMOUS, scopes, refresh=False)


async def _issue_for_form(call: Call) -> web.StreamResponse:
    fields = await _read_form(call)
    grant = _first(fields, "grant_type")
    guard = call.rooms.authenticator
    await guard.registry_login(call.request)  # whoever presents them means something by it
    if grant == EXCHANGE:
        return await _exchange(call, fields)
    if grant == "password":
        principal = await guard.log_in(
            call.request, _first(fields, "username"), _first(fields, "password")
        )
    elif grant == "refresh_token":
        principal = await guard.redeem(call.request, _first(fields, "refresh_token"))
    else:
        raise RequestInvalid(f"grant_type must be password, refresh_token or {EXCHANGE}")
    client = _first(fields, "client_id").lower()
    keeps_one = client not in KEEPS_NO_REFRESH_TOKEN and not principal.is_robot
    offline = _first(fields, "access_type") == "offline" and keeps_one
    return await _answer(call, principal, fields.get("scope", ()), refresh=offline)


async def _exchange(call: Call, fields: _Fields) -> web.StreamResponse:
    """Answer with a robot's secret for an ID token, to log in with (RFC 8693, 2.2)."""
    if _first(fields, "subject_token_type") not in SUBJECT_TYPES:
        raise RequestInvalid(
            f"subject_token_type must be one of {', '.join(sorted(SUBJECT_TYPES))}"
        )
    if _first(fields, "requested_token_type") not in ("", ACCESS_TOKEN):
        raise RequestInvalid(f"requested_token_type can be {ACCESS_TOKEN} only")
    # An unescaped + is a blank in a form, and no robot has one in its name.
    robot = _first(fields, "robot").replace(" ", "+")
    if not robot:
        raise RequestInvalid("say robot=NAMESPACE+NAME, whose ID token it is")
    guard = call.rooms.authenticator
    made = await guard.exchange(call.request, robot, _first(fields, "subject_token").strip())
    note_user(call.request, made.login)
    answer = {
        "access_token": made.secret,
        "issued_token_type": ACCESS_TOKEN,
        "token_type": "N_A",
        "expires_in": made.seconds,
        "username": made.login,
    }
    return json_response(call, answer, "application/json", {"Cache-Control": "no-store"})


async def _read_form(call: Call) -> _Fields:
    if call.request.content_type != FORM:
        raise MediaTypeUnsupported(f"send the form as {FORM}")
    payload = await call.body.read(FORM_BYTES_MAX)
    try:
        return _fields(payload.decode())
    except ValueError:
        raise RequestInvalid("the form cannot be read: name=value&name=value in UTF-8") from None


def _fields(text: str) -> _Fields:
    """Return the fields of a form; nothing between two `&` is nothing.

    Raises ValueError when there are too many, or not UTF-8.
    """
    return parse_qs(text, keep_blank_values=True, max_num_fields=FORM_FIELDS_MAX, errors="strict")


def _first(fields: _Fields, name: str) -> str:
    return next(iter(fields.get(name, ())), "")


async def _answer(
    call: Call, principal: Principal, scopes: Sequence[str], *, refresh: bool
) -> web.StreamResponse:
    """Answer with a token of the granted scopes, in the words of both protocols."""
    note_user(call.request, principal.user)
    tokens = call.rooms.authenticator.tokens
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

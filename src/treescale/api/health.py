"""`/healthz` and `/readyz`: for balancers, Kubernetes and whoever looks at a server.

The first says that the process answers. The second says what the server is fit for, check by check,
as text or, with `Accept: application/json`, as JSON. Nobody logs in for it, so it names checks and
plain reasons and nothing of the machine.
"""

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import web

from treescale.cluster.readiness import Finding, Purpose
from treescale.errors import RequestInvalid
from treescale.http.call import Call
from treescale.http.errors import RETRY_SECONDS

Readiness = Callable[[Purpose], Sequence[Finding]]
"""Says at once how the server is for a purpose."""
_JSON: Final = "application/json"


async def alive(_: Call) -> web.StreamResponse:
    """Return that the process answers."""
    return web.Response(text="alive\n")


async def readiness(ready: Readiness, call: Call) -> web.StreamResponse:
    """Return 200 or 503 and every check that counts; raises RequestInvalid for an unknown `for`."""
    request = call.request
    found = ready(_purpose(request))
    fit = all(finding.ok for finding in found)
    json = _JSON in request.headers.get("Accept", "")
    response = web.Response(
        status=HTTPStatus.OK if fit else HTTPStatus.SERVICE_UNAVAILABLE,
        body=_as_json(found, fit=fit) if json else _as_text(found, fit=fit),
        content_type=_JSON if json else "text/plain",
        charset=None if json else "utf-8",
    )
    response.headers["Cache-Control"] = "no-store"
    response.headers["Vary"] = "Accept"
    if not fit:
        response.headers["Retry-After"] = str(RETRY_SECONDS)
    return response


def _purpose(request: web.BaseRequest) -> Purpose:
    asked = set(request.query.getall("for", []))
    if asked - {Purpose.PULL.value, Purpose.PUSH.value}:
        raise RequestInvalid("ask /readyz?for=pull or ?for=push, or /readyz for everything")
    return Purpose.PULL if asked == {Purpose.PULL.value} else Purpose.EVERYTHING


def _as_text(found: Sequence[Finding], *, fit: bool) -> bytes:
    lines = [f"{finding.check.label}: {finding.words}" for finding in found]
    return "\n".join(["ready" if fit else "not ready", *lines, ""]).encode()


def _as_json(found: Sequence[Finding], *, fit: bool) -> bytes:
    checks = [
        {
            "name": finding.check.label,
            "ok": finding.ok,
            "reason": "" if finding.ok else finding.words,
        }
        for finding in found
    ]
    return msgspec.json.encode({"ready": fit, "checks": checks})

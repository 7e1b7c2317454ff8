"""The OpenAPI 3.1 document of a table of routes."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from treescale.console.problems import CONTENT_TYPE, TYPE
from treescale.console.route import PREFIX, ApiRoute, Who

OPENAPI: Final = "3.1.0"
_JSON: Final = "application/json"
_BASIC: Final = "basic"
_REF: Final = "#/components/schemas/{name}"
_WHO: Final[Mapping[Who, str]] = {
    Who.ANYBODY: "Nobody logs in for it.",
    Who.USER: "For whoever logs in.",
    Who.READER: "For whoever logs in, and for others as far as anybody may pull.",
    Who.ADMINISTRATOR: "For administrators.",
}
_ROBOTS: Final = " Robots may ask, too, as far as their rights go."
_SECURITY: Final[Mapping[Who, list[dict[str, list[str]]]]] = {
    Who.ANYBODY: [],
    Who.READER: [{}, {_BASIC: []}],
}


class ProblemDetails(msgspec.Struct, kw_only=True):
    """What is wrong (RFC 9457)."""

    type: str
    """`urn:treescale:problem:NAME`: programs go by this."""
    title: str
    status: int
    detail: str
    request_id: str
    field: str | msgspec.UnsetType = msgspec.UNSET
    id: str | msgspec.UnsetType = msgspec.UNSET
    """Of what is there already."""


def document(routes: Iterable[ApiRoute], version: str) -> dict[str, Any]:
    """Return the document; `version` is that of the server."""
    rows = list(routes)
    taken = [row.takes for row in rows if row.takes is not None]
    types = [ProblemDetails, *(row.gives for row in rows), *taken]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    known = list(zip(types, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for row in rows:
        paths.setdefault(PREFIX + row.path, {})[row.method.lower()] = _operation(row, known)
    return {
        "openapi": OPENAPI,
        "info": {
            "title": "TreeScale",
            "version": version,
            "description": (
                "The management API. Log in with Basic credentials: a user's name, and the "
                "password or an access token made with `--allow api`. Errors are "
                f"`application/problem+json`; their `type` begins with `{TYPE}`."
            ),
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {_BASIC: {"type": "http", "scheme": "basic"}},
        },
    }


def _operation(row: ApiRoute, known: list[tuple[Any, dict[str, Any]]]) -> dict[str, Any]:
    def content(kind: Any, media_type: str = _JSON) -> dict[str, Any]:
        schema = next(schema for each, schema in known if each is kind)
        return {media_type: {"schema": schema}}

    streams = {each: {"schema": {"type": "string"}} for each in row.streams}
    found: dict[str, Any] = {
        "operationId": _identity(row),
        "summary": row.summary,
        "description": _WHO[row.who] + (_ROBOTS if row.robots else ""),
        "responses": {
            "200": {"description": "As asked.", "content": content(row.gives) | streams},
            "default": {
                "description": "What is wrong.",
                "content": content(ProblemDetails, CONTENT_TYPE),
            },
        },
        "security": _SECURITY.get(row.who, [{_BASIC: []}]),
    }
    parameters = [_parameter(name, "path", "May have slashes.") for name in row.names]
    parameters += [_parameter(name, "query", what) for name, what in row.query.items()]
    if parameters:
        found["parameters"] = parameters
    if row.takes is not None:
        found["requestBody"] = {"required": True, "content": content(row.takes)}
    return found


def _parameter(name: str, place: str, what: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": place,
        "required": place == "path",
        "description": what,
        "schema": {"type": "string"},
    }


def _identity(row: ApiRoute) -> str:
    """Return a name that no other route has: programs are generated with it."""
    words = [word.strip("{}").replace("-", "_").replace(".", "_") for word in row.path.split("/")]
    return "_".join([row.method.lower(), *(word for word in words if word)])

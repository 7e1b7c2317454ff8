"""Errors as problem+json (RFC 9457): a type that programs know, and a detail for people.

Statuses are those of `http/errors`, which has a row for each error; here each has its type. What is
in no row is a fault of ours, and says nothing but the request's id.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from treescale import errors
from treescale.http.errors import lookup, message

CONTENT_TYPE: Final = "application/problem+json"
TYPE: Final = "urn:treescale:problem:"


@dataclass(frozen=True, slots=True)
class Problem:
    """What programs tell it by, the last part of its type, and its title, always the same."""

    name: str
    title: str


INTERNAL: Final = Problem("internal", "A fault of the server")
PASSWORD: Final = Problem("password", "Ask with the password")
PROBLEMS: Final[Mapping[type[Exception], Problem]] = {
    errors.CredentialsInvalid: Problem("credentials", "Log in first"),
    errors.Unauthorized: Problem("credentials", "Log in first"),
    errors.PasswordNeeded: PASSWORD,
    errors.Forbidden: Problem("forbidden", "This is not for you"),
    errors.TooMany: Problem("too-many", "Too many requests"),
    errors.NameUnknown: Problem("unknown", "There is nothing of this name"),
    errors.ManifestUnknown: Problem("unknown", "There is nothing of this name"),
    errors.HookUnknown: Problem("unknown", "There is nothing of this name"),
    errors.UserUnknown: Problem("unknown", "There is nothing of this name"),
    errors.TokenUnknown: Problem("unknown", "There is nothing of this name"),
    errors.NamespaceUnknown: Problem("unknown", "There is nothing of this name"),
    errors.UserExists: Problem("exists", "The name is taken"),
    errors.TagImmutable: Problem("immutable", "A rule has the tag stay as it is"),
    errors.RuleUnknown: Problem("unknown", "There is nothing of this name"),
    errors.RuleExists: Problem("exists", "There is such a rule"),
    errors.PlanChanged: Problem("plan-changed", "The plan is another by now"),
    errors.LastOwner: Problem("last-owner", "An organisation needs an owner"),
    errors.LastAdministrator: Problem("last-administrator", "An administrator has to be left"),
    errors.LinkUnknown: Problem("unknown", "There is nothing of this name"),
    errors.SessionUnknown: Problem("unknown", "There is nothing of this name"),
    errors.IdentityUnknown: Problem("unknown", "There is nothing of this name"),
    errors.ProviderUnknown: Problem("unknown", "There is nothing of this name"),
    errors.SignOnRefused: Problem("forbidden", "This is not for you"),
    errors.PreconditionFailed: Problem("precondition", "It is not as it was thought to be"),
    errors.AddressForbidden: Problem("address", "The URL must not be asked from here"),
    errors.NameInvalid: Problem("name", "No such name can be"),
    errors.PageInvalid: Problem("page", "The page asked for cannot be"),
    errors.ParameterInvalid: Problem("parameter", "A parameter of the query is wrong"),
    errors.FieldInvalid: Problem("field", "A field of the body is wrong"),
    errors.TooLarge: Problem("too-large", "The body is too large"),
    errors.MediaTypeUnsupported: Problem("media-type", "The body is in another form"),
    errors.Unsupported: Problem("method", "The resource has no such method"),
    errors.ReadOnly: Problem("read-only", "It is read-only"),
    errors.OverLimit: Problem("over-limit", "The namespace has as much as it may"),
    errors.RequestInvalid: Problem("request", "The request cannot be understood"),
    errors.Refused: Problem("refused", "The request cannot be granted"),
    errors.Failed: Problem("unavailable", "It cannot be done now"),
}
"""The type of each error; the nearest ancestor counts."""


def problem_of(error: Exception) -> Problem:
    """Return what programs tell the error by."""
    if lookup(error) is None:
        return INTERNAL
    return next(PROBLEMS[kind] for kind in type(error).__mro__ if kind in PROBLEMS)


def status_of(error: Exception) -> int:
    """Return the answer's status."""
    row = lookup(error)
    return 500 if row is None else row[1]


def problem_body(error: Exception, request_id: str) -> dict[str, object]:
    """Return the members of a problem."""
    problem, status = problem_of(error), status_of(error)
    detail = f"see the server's log for {request_id}"
    if problem is not INTERNAL:
        detail = message(error, request_id)
    members: dict[str, object] = {
        "type": TYPE + problem.name,
        "title": problem.title,
        "status": status,
        "detail": detail,
        "request_id": request_id,
    }
    if isinstance(error, errors.FieldInvalid) and error.field:
        members["field"] = error.field
    if isinstance(error, errors.AlreadyThere) and error.known:
        members["id"] = error.known
    return members

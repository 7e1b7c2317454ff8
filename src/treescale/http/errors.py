"""The one door for errors: exceptions come in, OCI error answers go out.

A table from exception class to code and status, looked up along the class's ancestors, so a new
exception needs a row only when it differs from its parent. The body is always
`{"errors":[{"code","message","detail"}]}` with `Content-Type: application/json` exactly, which is
the only one dockerd parses (OCI Distribution Spec, "Error Codes"; reference/wire.md 3a).
"""

import errno
from collections.abc import Mapping
from typing import Final

import msgspec
from aiohttp import web

from treescale import errors
from treescale.oci.ranges import unsatisfied_range

Row = tuple[str, int]

TABLE: Final[Mapping[type[Exception], Row]] = {
    errors.NameInvalid: ("NAME_INVALID", 400),
    errors.NamespaceMissing: ("DENIED", 403),
    errors.TagInvalid: ("TAG_INVALID", 400),
    errors.DigestInvalid: ("DIGEST_INVALID", 400),
    errors.SizeInvalid: ("SIZE_INVALID", 400),
    errors.RangeInvalid: ("RANGE_INVALID", 416),
    errors.UploadOutOfOrder: ("BLOB_UPLOAD_INVALID", 416),
    errors.ManifestInvalid: ("MANIFEST_INVALID", 400),
    errors.ManifestBlobUnknown: ("MANIFEST_BLOB_UNKNOWN", 400),
    errors.PreconditionFailed: ("PRECONDITION_FAILED", 412),
    errors.PageInvalid: ("PAGINATION_NUMBER_INVALID", 400),
    errors.RequestInvalid: ("UNSUPPORTED", 400),
    errors.BodyTooSlow: ("UNSUPPORTED", 408),
    errors.TooLarge: ("SIZE_INVALID", 413),
    errors.MediaTypeUnsupported: ("UNSUPPORTED", 415),
    errors.Forbidden: ("DENIED", 403),
    errors.ReadOnly: ("DENIED", 403),
    errors.ReadOnlyCluster: ("UNAVAILABLE", 503),
    errors.OverLimit: ("DENIED", 403),
    errors.TagImmutable: ("DENIED", 403),
    errors.RuleUnknown: ("NAME_UNKNOWN", 404),
    errors.RuleExists: ("DENIED", 409),
    errors.PlanChanged: ("DENIED", 409),
    errors.NameUnknown: ("NAME_UNKNOWN", 404),
    errors.BlobUnknown: ("BLOB_UNKNOWN", 404),
    errors.ManifestUnknown: ("MANIFEST_UNKNOWN", 404),
    errors.UploadUnknown: ("BLOB_UPLOAD_UNKNOWN", 404),
    errors.UserUnknown: ("NAME_UNKNOWN", 404),
    errors.UserExists: ("DENIED", 409),
    errors.NamespaceUnknown: ("NAME_UNKNOWN", 404),
    errors.LastOwner: ("DENIED", 409),
    errors.LastAdministrator: ("DENIED", 409),
    errors.LinkUnknown: ("NAME_UNKNOWN", 404),
    errors.SessionUnknown: ("NAME_UNKNOWN", 404),
    errors.IdentityUnknown: ("NAME_UNKNOWN", 404),
    errors.ProviderUnknown: ("NAME_UNKNOWN", 404),
    errors.SignOnRefused: ("DENIED", 403),
    errors.TokenUnknown: ("NAME_UNKNOWN", 404),
    errors.HookUnknown: ("NAME_UNKNOWN", 404),
    errors.CredentialsInvalid: ("UNAUTHORIZED", 401),
    errors.Unauthorized: ("UNAUTHORIZED", 401),
    errors.TooMany: ("TOOMANYREQUESTS", 429),
    errors.Unsupported: ("UNSUPPORTED", 405),
    errors.Refused: ("UNSUPPORTED", 400),
    errors.StoreFull: ("UNKNOWN", 507),
    errors.Failed: ("UNKNOWN", 503),
}
"""What each error is on the wire. 507 and 503 mean: nothing was kept, try again later."""

WORDS: Final[Mapping[type[Exception], str]] = {
    errors.StoreFull: (
        "the registry has no room left for this; what it has can be pulled and deleted"
    ),
    errors.NotEnoughStores: (
        "too few of the registry's servers and disks can be written to now; nothing was kept"
    ),
    errors.DatabaseUnavailable: (
        "the registry cannot look this up, or record it, now; nothing was lost that was confirmed"
    ),
    errors.ServerForgotten: (
        "this server is no part of the registry any more: ask another one; its log says what to do"
    ),
    errors.NotRecorded: (
        "the upload stood still for so long that what it sent last is no longer kept: go on from "
        "where its status says that it stands, or begin again"
    ),
    errors.BeingPurged: (
        "what this upload has is being taken away for good at this moment; nothing of it was kept"
    ),
    errors.ChunkUnknown: "the registry cannot read this content now",
    errors.Corrupt: "the registry cannot read this content now",
    errors.Unreachable: "the registry does not reach all it needs for this now",
    errors.IssuerAway: (
        "the registry cannot have the keys of the issuer now, and takes none of its ID tokens"
    ),
    errors.Failed: "the registry cannot do this now",
}
"""What clients are told of what is wrong on our side. Our own words for it name directories, disks,
servers and what the database said: they are for the operator, and stand in the log."""
OURS: Final = (
    errors.SettingInvalid,
    errors.ServerUnknown,
    errors.StoreUnknown,
    errors.LastCopies,
)
"""What no request can be wrong about, though an administrator's command can."""

RETRY_SECONDS: Final = 5
"""What a 503 or 507 tells clients to wait."""
READ_ONLY_RETRY_SECONDS: Final = 30
"""The same while the registry is read-only, which lasts longer."""


_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


def as_failed(error: Exception) -> Exception:
    """Return the error as one of ours when it says that the machine has no more to give.

    Any call of the operating system may say so, wherever it is made; it passes by itself.
    """
    if isinstance(error, OSError) and error.errno in _EXHAUSTED:
        return errors.Failed(f"the server is at its limits ({error.strerror}); try again later")
    return error


def lookup(error: Exception) -> Row | None:
    """Return the row of the nearest ancestor in the table; None for what nobody foresaw."""
    if isinstance(error, OURS):
        return None
    for kind in type(error).__mro__:
        row = TABLE.get(kind)
        if row is not None:
            return row
    return None


def error_body(code: str, message: str, detail: object = None) -> bytes:
    """Return the JSON every client parses."""
    return msgspec.json.encode({"errors": [{"code": code, "message": message, "detail": detail}]})


def message(error: Exception, request_id: str) -> str:
    """Return what a client is told: what it can do, and nothing of this machine."""
    if not isinstance(error, errors.Failed):
        return str(error)
    words = next(WORDS[kind] for kind in type(error).__mro__ if kind in WORDS)
    return f"{words}. Try again later; if it lasts, tell the operator: request {request_id}"


def error_response(error: Exception, request_id: str) -> web.Response:
    """Return the answer for any exception.

    One that is not in the table is our fault: 500 with the request's id, nothing of its text.
    """
    row = lookup(error)
    if row is None:
        body = error_body("UNKNOWN", f"internal error; see the server's log for {request_id}")
        return web.Response(status=500, body=body, content_type="application/json")
    code, status = row
    response = web.Response(
        status=status,
        body=error_body(code, message(error, request_id)),
        content_type="application/json",
    )
    response.headers.update(waiting_headers(error))
    if isinstance(error, errors.RangeInvalid) and error.size is not None:
        response.headers["Content-Range"] = unsatisfied_range(error.size)
    return response


def waiting_headers(error: Exception) -> dict[str, str]:
    """Return what a refusal says of when, or how, to ask again."""
    if isinstance(error, errors.TooMany):
        return {"Retry-After": str(error.retry_seconds)}
    if isinstance(error, errors.Unsupported) and error.allowed:
        return {"Allow": ", ".join(error.allowed)}
    if isinstance(error, errors.Failed):
        return {"Retry-After": str(RETRY_SECONDS)}
    if isinstance(error, errors.ReadOnlyCluster):
        return {"Retry-After": str(READ_ONLY_RETRY_SECONDS)}
    return {}

"""A server as a command asks it: one request, its answer as JSON, its refusals as our errors.

What a refusal says is said as it stands: the server has the same words for it that a command on the
database has.
"""

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import msgspec
from yarl import URL

from treescale.console.problems import CONTENT_TYPE, PASSWORD, TYPE
from treescale.console.route import PREFIX
from treescale.errors import (
    CredentialsInvalid,
    Failed,
    Forbidden,
    NameUnknown,
    PasswordNeeded,
    PreconditionFailed,
    Refused,
    SettingInvalid,
    TreeScaleError,
    Unreachable,
)

CONNECT_SECONDS_MAX: Final = 10.0
READ_SECONDS_MAX: Final = 60.0
"""Without a byte of an answer."""
JSON: Final = "application/json"
NO_QUERY: Final[Mapping[str, str]] = {}
_KINDS: Final[Mapping[int, type[TreeScaleError]]] = {
    403: Forbidden,
    404: NameUnknown,
    412: PreconditionFailed,
}
_SERVERS: Final = 500
_AWAY: Final = (502, 503, 504)
"""Of a proxy whose servers are away."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user's name, and a password or an access token."""

    user: str
    secret: str


class RemoteServer:
    """Asks one server, for the time of a block."""

    def __init__(
        self,
        url: str,
        credentials: Credentials,
        *,
        ca_file: str = "",
        password: Callable[[str], str] | None = None,
    ) -> None:
        """`ca_file` is what signs its certificate, in place of what the system trusts.

        `password` asks for that of a user, when the server wants it in place of an access token.
        """
        self._url = url
        self._credentials = credentials
        self._ca_file = ca_file
        self._password = password

    async def __aenter__(self) -> Self:
        """Begin."""
        tls = _context(self._ca_file) if self._url.startswith("https:") else True
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls),
            timeout=aiohttp.ClientTimeout(
                total=None, connect=CONNECT_SECONDS_MAX, sock_read=READ_SECONDS_MAX
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close its connection."""
        await self._session.close()

    async def ask(
        self, method: str, path: str, *, query: Mapping[str, str] = NO_QUERY, body: object = None
    ) -> Any:
        """Return what is answered; `path` is below PREFIX, escaped. Raises what the server says."""
        try:
            return await self._ask(method, path, query, body)
        except PasswordNeeded:
            if self._password is None:
                raise
        user = self._credentials.user
        self._credentials = Credentials(user, self._password(f"Password of {user} at {self._url}"))
        return await self._ask(method, path, query, body)

    async def _ask(self, method: str, path: str, query: Mapping[str, str], body: object) -> Any:
        who = self._credentials
        headers = {"Authorization": aiohttp.encode_basic_auth(who.user, who.secret)}
        try:
            async with self._session.request(
                method,
                URL(self._url + PREFIX + path, encoded=True).with_query(dict(query) or None),
                data=None if body is None else msgspec.json.encode(body),
                headers=headers if body is None else {**headers, "Content-Type": JSON},
                allow_redirects=False,
            ) as response:
                status, kind = response.status, response.content_type
                payload = await response.read()
        except aiohttp.ClientConnectorCertificateError as error:
            raise self._untrusted(error) from error
        except aiohttp.ClientSSLError as error:
            raise Unreachable(f"{self._url} does not speak TLS: {error}") from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._silent(error) from error
        return self._answer(status, kind, payload)

    def _answer(self, status: int, kind: str, payload: bytes) -> Any:
        other = SettingInvalid(
            f"{self._url} answers ({status}), but not as this version of TreeScale does: is that "
            "its address?"
        )
        if (status, kind) != (HTTPStatus.OK, JSON) and kind != CONTENT_TYPE:
            if status in _AWAY:
                raise Unreachable(
                    f"{self._url} answers ({status}), as a proxy does whose servers are away: is "
                    "that its address?"
                )
            raise other
        try:
            found = msgspec.json.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise other from None
        if kind == JSON:
            return found
        if not isinstance(found, dict):
            raise other
        raise self._refusal(status, found)

    def _refusal(self, status: int, problem: Mapping[str, object]) -> TreeScaleError:
        detail = str(problem.get("detail", ""))
        if status == HTTPStatus.UNAUTHORIZED:
            return CredentialsInvalid(f"{detail}: `treescale login {self._url}`")
        if problem.get("type") == TYPE + PASSWORD.name:
            return PasswordNeeded(detail)
        return _KINDS.get(status, Failed if status >= _SERVERS else Refused)(detail)

    def _untrusted(self, error: aiohttp.ClientConnectorCertificateError) -> SettingInvalid:
        return SettingInvalid(
            f"the certificate of {self._url} is not trusted ({error.certificate_error}): name the "
            "file of who signs it with --ca-file FILE, or TREESCALE_CA_FILE"
        )

    def _silent(self, error: Exception) -> Unreachable:
        why = str(error) or "no answer in time"
        return Unreachable(
            f"{self._url} does not answer ({why}): is a server running there, and is the way open?"
        )


def _context(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise SettingInvalid(f"--ca-file {ca_file}: no certificate can be read: {error}") from None

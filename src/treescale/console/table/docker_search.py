"""`docker search HOST/TERM`: the search of the registry API's version 1, which docker still asks.

docker sends what `docker login` keeps: Basic credentials, or a bearer token with a scope of its own
(`auth.scopes.SEARCH`). Over plain HTTP it sends neither, so searching needs TLS.
"""

from fnmatch import fnmatchcase
from typing import Final

import msgspec
from aiohttp import web

from treescale.auth.scopes import CATALOG, Action
from treescale.console.body import JSON
from treescale.console.content.search import SearchPage
from treescale.console.route import SEARCH_PATH
from treescale.console.table.inside import Asking, Inside
from treescale.errors import CredentialsInvalid, RequestInvalid, Unauthorized
from treescale.http.authentication import Authenticator
from treescale.http.call import add_common_headers
from treescale.http.errors import as_failed, error_response, lookup
from treescale.http.request_record import note_user, record_of, request_id
from treescale.log import get_logger
from treescale.oci.query import query_pairs
from treescale.request_id import CLIENT, REQUEST_ID

STANDALONE: Final = {"standalone": True}
FOUND_MAX: Final = 100
DIGITS_MAX: Final = 9
FOUND: Final = 25


class Found(msgspec.Struct):
    """A repository, as docker has them."""

    name: str
    description: str = ""
    star_count: int = 0
    is_official: bool = False
    is_automated: bool = False


class DockerSearch:
    """Answers docker; others ask `/api/v1/search`."""

    def __init__(self, api: Inside, authenticator: Authenticator) -> None:
        self._api = api
        self._authenticator = authenticator

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, whatever happens."""
        REQUEST_ID.set(request_id(request))
        record_of(request).client = self._authenticator.client_address(request)
        CLIENT.set(record_of(request).client)
        try:
            found = await self._search(request) if request.path == SEARCH_PATH else STANDALONE
            response = web.Response(body=msgspec.json.encode(found), headers={"Content-Type": JSON})
        except Exception as error:  # noqa: BLE001  this is the one door
            response = self._refuse(request, as_failed(error))
        add_common_headers(response)
        response.headers["Cache-Control"] = "no-store"
        return response

    def _refuse(self, request: web.BaseRequest, error: Exception) -> web.Response:
        if lookup(error) is None:
            get_logger().error("request.failed", request_id=request_id(request), exc_info=error)
        response = error_response(error, request_id(request))
        if isinstance(error, Unauthorized):
            challenge = self._authenticator.challenge(request, error)
            response.headers["WWW-Authenticate"] = challenge
        elif isinstance(error, CredentialsInvalid):
            response.headers["WWW-Authenticate"] = 'Basic realm="treescale"'
        return response

    async def _search(self, request: web.BaseRequest) -> object:
        pairs = dict(query_pairs(request.rel_url.raw_query_string))
        wanted, limit = pairs.get("q", ""), _limit(pairs.get("n", str(FOUND)))
        caller = await self._authenticator.authenticate(request)
        if caller is None:
            raise Unauthorized("docker search needs TLS, and docker login before", scope=CATALOG)
        note_user(request, caller.user)
        caller.check_catalog()
        principal = caller.principal
        held = await self._authenticator.tokens.memberships(principal)
        asking = Asking(principal, held=held)
        query = {"q": wanted, "n": str(limit)}
        page: SearchPage = await self._api.ask(asking, "GET", "/search", query=query)
        found = [
            Found(one.name)
            for one in page.repositories
            if Action.PULL in principal.allow and fnmatchcase(one.name, principal.repository_glob)
        ]
        return {
            "query": wanted,
            "num_results": len(found),
            "num_pages": 1,
            "page": 1,
            "page_size": limit,
            "results": found,
        }


def _limit(text: str) -> int:
    is_short = text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX
    if not (is_short and 1 <= int(text) <= FOUND_MAX):
        raise RequestInvalid(f"n must be 1 to {FOUND_MAX}")
    return int(text)

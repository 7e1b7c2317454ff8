"""A page's way: its row, who has it open, its form; one door for errors.

What pages show and do they ask of the management API, by the same rows as programs.

Nothing is shown, and no form taken, where somebody could read along. A form counts when a page of
this very host sent it, and, for who is signed in, when it is of their session.

How small a page becomes tells of what is in it, to who reads along and has a browser ask for many
pages with text of theirs (BREACH). So compressed is what a page of this host or the user themselves
asked for, as browsers say (`Sec-Fetch-Site`), and nothing that another site made them ask for.
"""

import asyncio
import gzip
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qsl, quote

from aiohttp import web

from treescale.auth.policy import ANONYMOUS
from treescale.console.problems import status_of
from treescale.console.table.inside import Asking, Inside
from treescale.console.web.page import AskApi, Live, Moved, Page, PageRoute, Visit, Who
from treescale.console.web.rendering import HEADERS, HTML, STATIC_SECONDS, Renderer, Static
from treescale.console.web.texts import DONE, TEXTS
from treescale.errors import (
    CredentialsInvalid,
    Failed,
    Forbidden,
    MediaTypeUnsupported,
    NameUnknown,
    RequestInvalid,
    TooMany,
    Unsupported,
)
from treescale.http.authentication import Authenticator
from treescale.http.body import RequestBody
from treescale.http.connections.streaming import stream
from treescale.http.dispatch import check_coding, takes_gzip
from treescale.http.errors import as_failed, lookup, message, waiting_headers
from treescale.http.request_record import note_user, record_of, request_id
from treescale.http.sessions.cookies import Cookie
from treescale.http.sessions.visitor import Place, Visitors
from treescale.log import get_logger
from treescale.metrics.meters import Route
from treescale.metrics.traffic import TrafficCounters
from treescale.registry.people.sessions import SignedIn
from treescale.request_id import REQUEST_ID

FIELDS_MAX: Final = 64
FORM_TYPE: Final = "application/x-www-form-urlencoded"
FORM_FIELD: Final = "form"
GET: Final = "GET"
HEAD: Final = "HEAD"
POST: Final = "POST"
WORDS_SHOWN: Final = 3
"""Of a path that is no page's, for the log: `/-/invitation`."""
SEE_OTHER: Final = 303
GZIP_LEVEL: Final = 5
RIGHTS_SECONDS: Final = 5.0
"""Who looks at what is live is looked up so often."""
STREAMS_MAX: Final = 500
"""Pages that are live at once, of one process; of one user a tenth."""
STREAMS_RETRY_SECONDS: Final = 60
ZIPPED: Final[Mapping[str, str]] = {"Content-Encoding": "gzip"}
BY_NO_OTHER_SITE: Final = ("same-origin", "none")
"""A page of ours, or the user: who typed the address, or has kept it."""
SERVER_SENT: Final = "text/event-stream; charset=utf-8"
_NOTHING: Final[Mapping[str, str]] = {}
SIGN_IN: Final = "/-/sign-in"
_HEADINGS: Final[Mapping[int, str]] = {403: "forbidden_title", 404: "not_found_title"}
_WORD: Final = re.compile(r"[a-z_]{1,40}")


@dataclass(slots=True)
class _Looking:
    """What is known by now of who looks, and what they asked for."""

    signed_in: SignedIn | None = None
    query: Mapping[str, str] = field(default_factory=dict)


class PageDispatcher:
    """Answers every request below `/-/` by a table of pages."""

    def __init__(
        self,
        routes: Sequence[PageRoute],
        authenticator: Authenticator,
        visitors: Visitors,
        traffic: TrafficCounters,
        api: Inside,
        *,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Pages ask `api`; `check` raises what everything is refused with."""
        self._routes = routes
        self._api = api
        self._authenticator = authenticator
        self._visitors = visitors
        self._traffic = traffic
        self._check = check
        self._renderer = Renderer()
        self._log = get_logger()
        self._live = Counter[str]()
        """How many pages are live, by user."""

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, whatever happens."""
        record = record_of(request)
        record.route = Route.PAGES
        REQUEST_ID.set(request_id(request))
        record.client = self._visitors.address(request)
        response = await self._answer(request)
        if response.prepared:
            return response
        response.headers["Server"] = "TreeScale"
        if request.method == HEAD:
            length = str(response.content_length or 0)
            headers = response.headers.copy()
            headers["Content-Length"] = length
            response = web.Response(status=response.status, headers=headers)
        return response

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        static = self._renderer.static.get(request.rel_url.raw_path)
        if static is not None and request.method in (GET, HEAD):
            return _loaded(static, zipped=takes_gzip(request))
        place = self._visitors.place(request)
        looking = _Looking()
        try:
            shown = await self._shown(request, place, looking)
        except Exception as error:  # noqa: BLE001  this is the one door
            if isinstance(error, CredentialsInvalid) and looking.signed_in is None:
                return self._to_sign_in(request, place)
            return self._refuse(request, place, as_failed(error), looking.signed_in)
        if isinstance(shown, Moved):
            return _moved(shown, place)
        if isinstance(shown, Live):
            return await self._streamed(request, place, shown, looking.signed_in)
        done = _done(looking.query)
        return _zipped(request, self._page(shown, place, looking.signed_in, done=done))

    async def _shown(
        self, request: web.BaseRequest, place: Place, looking: "_Looking"
    ) -> Page | Moved | Live:
        """Return what is shown; raises CredentialsInvalid for who has to sign in first."""
        # Until it is known which page it is: somebody may have mistyped a path that lets in.
        record_of(request).shown_path = _begin_of(request.rel_url.raw_path)
        if request.method in (GET, HEAD) and (page := self._page_of_form(request)):
            return Moved(page)
        route, parameters = self._find(request)
        record_of(request).shown_path = route.shown_path
        self._check()
        check_coding(request)
        if not place.may_have_session:
            return _message("needs_tls_title", TEXTS["needs_tls"], 403)
        looking.signed_in = await self._visitors.find(request)
        if looking.signed_in is not None:
            note_user(request, looking.signed_in.user)
            self._authenticator.note_login(request, looking.signed_in.principal)
        rates = self._authenticator.rates
        if rates is not None and rates.are_limited:
            user = "" if looking.signed_in is None else looking.signed_in.user
            rates.check(user, record_of(request).client, is_pull=False)
        visit = await self._visit(request, route, place, parameters, looking.signed_in)
        looking.query = visit.query
        _check_who(route, looking.signed_in)
        return await route.handler(visit)

    def _find(self, request: web.BaseRequest) -> tuple[PageRoute, Mapping[str, str]]:
        path = request.rel_url.raw_path
        matching = [(row, found) for row in self._routes if (found := row.match(path)) is not None]
        if not matching:
            raise NameUnknown(TEXTS["not_found"])
        method = GET if request.method == HEAD else request.method
        for row, found in matching:
            if row.method == method:
                return row, found
        allowed = tuple(row.method for row, _ in matching)
        raise Unsupported(f"use {' or '.join(allowed)} here", allowed=allowed)

    def _page_of_form(self, request: web.BaseRequest) -> str:
        """Return the page that a form is on, for a path that takes forms alone; else nothing.

        A browser that opens a tab again, or somebody who presses Enter in the address, asks for it.
        """
        path = request.rel_url.raw_path
        found = [row.method for row in self._routes if row.match(path) is not None]
        if not found or GET in found:
            return ""
        while path := path.rpartition("/")[0]:
            if any(row.method == GET and row.match(path) is not None for row in self._routes):
                return path
        return "/"

    async def _visit(
        self,
        request: web.BaseRequest,
        route: PageRoute,
        place: Place,
        parameters: Mapping[str, str],
        signed_in: SignedIn | None,
    ) -> Visit:
        form: Mapping[str, str] = {}
        if route.method == POST:
            self._visitors.check_origin(request)
            form = await self._form(request, route.form_bytes_max)
            if route.who is not Who.ANYBODY and signed_in is not None:
                _check_form(form, signed_in)
        return Visit(
            place=place,
            address=self._visitors.address(request),
            agent=request.headers.get("User-Agent", ""),
            parameters=parameters,
            query=_pairs(request.rel_url.raw_query_string),
            form=form,
            signed_in=signed_in,
            prove=partial(self._authenticator.prove, request),
            note_login=partial(self._authenticator.note_login, request),
            note_refusal=partial(self._authenticator.note_refusal, request),
            cookie=partial(self._visitors.cookie, request),
            api=self._asking(request, signed_in),
        )

    def _asking(self, request: web.BaseRequest, signed_in: SignedIn | None) -> AskApi:
        """Return what asks the management API as whoever this is.

        What goes on for long is told anew now and then who that is, and what they may do.
        """
        time = asyncio.get_running_loop().time
        known: Asking | None = None
        looked = time()

        async def ask(
            method: str, path: str, *, query: Mapping[str, str] = _NOTHING, body: object = None
        ) -> Any:
            nonlocal known, looked
            if known is None:
                known = await self._who(request, signed_in)
            elif time() - looked >= RIGHTS_SECONDS:
                looked = time()
                known = await self._who_still(request, signed_in)
            return await self._api.ask(known, method, path, query=query, body=body)

        return ask

    async def _who_still(self, request: web.BaseRequest, signed_in: SignedIn | None) -> Asking:
        """Look again; raises CredentialsInvalid when the session has ended."""
        now = None if signed_in is None else await self._visitors.find(request)
        if signed_in is not None and now is None:
            raise CredentialsInvalid(TEXTS["ended"])
        return await self._who(request, now)

    async def _who(self, request: web.BaseRequest, signed_in: SignedIn | None) -> Asking:
        if signed_in is None:
            return Asking(ANONYMOUS, is_closed=self._authenticator.tokens.closed)
        return Asking(
            signed_in.principal,
            signed_in.session.is_administrator,
            await self._authenticator.tokens.memberships(signed_in.principal),
            signed_in.is_fresh,
            partial(self._authenticator.prove, request),
        )

    @contextmanager
    def _room(self, signed_in: SignedIn | None) -> Iterator[None]:
        """Count one more who looks at what is live, for as long as the block takes."""
        user = "" if signed_in is None else signed_in.user
        if self._live[user] >= STREAMS_MAX // 10 or self._live.total() >= STREAMS_MAX:
            raise TooMany(TEXTS["too_many_live"], retry_seconds=STREAMS_RETRY_SECONDS)
        self._live[user] += 1
        try:
            yield
        finally:
            self._live[user] -= 1
            self._live += Counter()  # forgets whom nothing is counted of

    async def _streamed(
        self, request: web.BaseRequest, place: Place, live: Live, signed_in: SignedIn | None
    ) -> web.StreamResponse:
        try:
            with self._room(signed_in):
                return await self._stream(request, live)
        except TooMany as error:
            return self._refuse(request, place, error, signed_in)

    async def _stream(self, request: web.BaseRequest, live: Live) -> web.StreamResponse:
        """Send what happens, until whoever looks goes away; they ask again by themselves."""
        headers = {**HEADERS, "Content-Type": SERVER_SENT}
        async with aclosing(live.parts) as parts:
            if request.method == HEAD:
                return web.Response(headers=headers)
            response = web.StreamResponse(headers={**headers, "Server": "TreeScale"})
            await stream(request, response, (self._renderer.part(part) async for part in parts))
        return response

    async def _form(self, request: web.BaseRequest, bytes_max: int) -> Mapping[str, str]:
        kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind != FORM_TYPE:
            raise MediaTypeUnsupported("send a form as browsers do")
        body = await RequestBody(request, self._traffic).read(bytes_max)
        try:
            return _pairs(body.decode("ascii"))
        except UnicodeDecodeError:
            raise RequestInvalid("the form is not percent-encoded UTF-8") from None

    def _to_sign_in(self, request: web.BaseRequest, place: Place) -> web.Response:
        if request.method not in (GET, HEAD):
            return self._page(_message("ended_title", TEXTS["ended"], 401), place, None)
        path = quote(request.rel_url.raw_path, safe="/:@")
        return _moved(Moved(f"{SIGN_IN}?next={path}"), place)

    def _refuse(
        self,
        request: web.BaseRequest,
        place: Place,
        error: Exception,
        signed_in: SignedIn | None,
    ) -> web.Response:
        identity = request_id(request)
        known = lookup(error) is not None
        if not known:
            self._log.error("request.failed", request_id=identity, exc_info=error)
        elif isinstance(error, Failed):
            self._log.warning("request.unavailable", error=str(error), request_id=identity)
        text = message(error, identity) if known else TEXTS["error"].format(request_id=identity)
        status = status_of(error)
        heading = _HEADINGS.get(status, "error_title")
        response = self._page(_message(heading, text, status), place, signed_in)
        response.headers.update(waiting_headers(error))
        return response

    def _page(
        self, page: Page, place: Place, signed_in: SignedIn | None, *, done: str = ""
    ) -> web.Response:
        values: dict[str, Any] = {
            "user": "" if signed_in is None else signed_in.user,
            "manages": signed_in is not None and signed_in.session.is_administrator,
            "form_token": "" if signed_in is None else signed_in.form_token,
            "done": done,
            "problem": "",
            **page.values,
        }
        body = self._renderer.page(page.template, values)
        headers = {**HEADERS, "Content-Type": HTML}
        return _with_cookies(
            web.Response(status=page.status, body=body, headers=headers), page.cookies, place
        )


def _loaded(static: Static, *, zipped: bool) -> web.Response:
    lasting = f"public, max-age={STATIC_SECONDS}, immutable"
    headers = {
        **HEADERS,
        "Content-Type": static.kind,
        "Cache-Control": lasting,
        "Vary": "Accept-Encoding",
        **(ZIPPED if zipped else {}),
    }
    return web.Response(body=static.zipped if zipped else static.content, headers=headers)


def _zipped(request: web.BaseRequest, page: web.Response) -> web.Response:
    """Return a page as small as it may be."""
    asked_by = request.headers.get("Sec-Fetch-Site", "")
    if asked_by in BY_NO_OTHER_SITE and takes_gzip(request):
        assert isinstance(page.body, bytes)
        page.body = gzip.compress(page.body, GZIP_LEVEL, mtime=0)
        page.headers.update(ZIPPED)
    return page


def _message(heading: str, text: str, status: int) -> Page:
    return Page("message.html", {"heading": TEXTS[heading], "text": text}, status=status)


def _check_who(route: PageRoute, signed_in: SignedIn | None) -> None:
    if route.who is Who.ANYBODY:
        return
    if signed_in is None:
        raise CredentialsInvalid(TEXTS["ended"])
    if route.who is Who.ADMINISTRATOR and not signed_in.session.is_administrator:
        raise Forbidden(TEXTS["for_administrators_alone"])


def _moved(moved: Moved, place: Place) -> web.Response:
    headers = {**HEADERS, "Location": moved.to}
    return _with_cookies(web.Response(status=SEE_OTHER, headers=headers), moved.cookies, place)


def _with_cookies(response: web.Response, cookies: Sequence[Cookie], place: Place) -> web.Response:
    for cookie in cookies:
        response.headers.add("Set-Cookie", cookie.header(secure=place.is_secure))
    return response


def _check_form(form: Mapping[str, str], signed_in: SignedIn) -> None:
    if not signed_in.is_form_token(form.get(FORM_FIELD, "")):
        raise Forbidden(TEXTS["form_stale"])


def _pairs(text: str) -> dict[str, str]:
    """Return the fields of a form, or a query; raises RequestInvalid for what is no such."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=FIELDS_MAX)
    except ValueError:
        raise RequestInvalid("the form cannot be read") from None
    found = dict(pairs)
    if len(found) != len(pairs):
        raise RequestInvalid("a field of the form is there twice")
    return found


def _begin_of(path: str) -> str:
    """Return the first words of a path."""
    words = path.split("/")
    return path if len(words) <= WORDS_SHOWN else "/".join([*words[:WORDS_SHOWN], "…"])


def _done(query: Mapping[str, str]) -> str:
    """Return what has just been done, of the texts that say such a thing."""
    word = query.get("done", "")
    return TEXTS.get(f"{DONE}{word}", "") if _WORD.fullmatch(word) else ""

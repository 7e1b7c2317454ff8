"""What answers whoever looks after it all is made with the first request to it."""

import asyncio
import threading
from collections.abc import Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from treescale.server.serving import Answers, AnswersLater, by_path

REQUEST = make_mocked_request("GET", "/api/v1/repositories")


async def say_api(_: web.BaseRequest) -> web.StreamResponse:
    return web.Response(text="api")


async def say_page(_: web.BaseRequest) -> web.StreamResponse:
    return web.Response(text="page")


async def say_found(_: web.BaseRequest) -> web.StreamResponse:
    return web.Response(text="found")


def make() -> Answers:
    return Answers(say_api, say_page, say_found)


def text_of(response: web.StreamResponse) -> str | None:
    assert isinstance(response, web.Response)
    return response.text


async def test_it_is_imported_once_by_whoever_asks_first_and_in_a_thread() -> None:
    threads = list[threading.Thread]()

    def imported() -> Callable[[], Answers]:
        threads.append(threading.current_thread())
        return make

    answers = AnswersLater(imported).answers()
    assert not threads
    asked = await asyncio.gather(
        answers.api(REQUEST), answers.pages(REQUEST), answers.searched(REQUEST)
    )
    assert [text_of(each) for each in asked] == ["api", "page", "found"]
    assert text_of(await answers.api(REQUEST)) == "api"
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread(), "others would wait for the import"


async def test_what_could_not_be_imported_is_tried_again() -> None:
    fails = [OSError("no file can be opened")]

    def imported() -> Callable[[], Answers]:
        if fails:
            raise fails.pop()
        return make

    answers = AnswersLater(imported).answers()
    with pytest.raises(OSError, match="no file"):
        await answers.pages(REQUEST)
    assert text_of(await answers.pages(REQUEST)) == "page"


async def test_requests_of_the_registry_import_nothing() -> None:
    def imported() -> Callable[[], Answers]:
        raise AssertionError("nobody has asked for a page")

    async def registry(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text="registry")

    handle = by_path(registry, AnswersLater(imported).answers())
    for path in ("/v2/", "/v2/acme/app/tags/list", "/token", "/readyz"):
        assert text_of(await handle(make_mocked_request("GET", path))) == "registry"
    with pytest.raises(AssertionError, match="nobody"):
        await handle(REQUEST)

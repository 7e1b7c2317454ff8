"""A registry of two workers under test, and every model it may be in.

One request at a time leaves one model. Of two requests at once each order is possible: the models
that fit both answers are kept, until a later answer tells them apart. No model left: the registry
did what no order of the requests explains.
"""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import aiohttp

from tests.api.client import Answer, Client
from tests.fuzz.budget import Tally
from tests.fuzz.callers import CALLERS, Wallet
from tests.fuzz.model import Expected, Model, refused
from tests.fuzz.rig import Worker, copy_home

Act = Callable[[Model], Expected]
Order = Sequence[tuple[int, Act]]
"""Requests by their number, each with what it does to the model, one after the other."""
WORKERS: Final = 2
DENIED: Final = refused(401, "UNAUTHORIZED")


@dataclass(frozen=True)
class Request:
    """A request: who sends it to which worker, how it is authorised, what right it needs."""

    caller: str
    worker: int
    how: str
    method: str
    path: str
    repository: str = ""
    need: str = "pull"
    headers: dict[str, str] = field(default_factory=dict)
    data: bytes | None = None
    streamed: bool = False
    source: str = ""


@dataclass
class Setting:
    """What all runs of the machine share."""

    home: Path
    scratch: Path
    runner: asyncio.Runner
    tally: Tally
    runs: int = 0


class Registry:
    """Two workers on one database and one store, with the models they are held against."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        setting.runs += 1
        setting.tally.inputs += 1
        self._home = copy_home(setting.home, setting.scratch / str(setting.runs))
        self.models = [Model()]
        self._wallet = Wallet(setting.home)
        self.workers: list[Worker] = self.run(self._start_all())
        self._session = self.run(_new_session())

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Do it in the event loop."""
        return self._setting.runner.run(work)

    async def _start_all(self) -> list[Worker]:
        return [await Worker.start(self._home) for _ in range(WORKERS)]

    def end(self) -> None:
        """Stop everything and leave nothing behind."""
        self.run(self._session.close())
        for worker in self.workers:
            self.run(worker.stop())
        shutil.rmtree(self._home)

    def restart(self, number: int) -> None:
        """Replace a worker by a new one, which knows only what the database and the store say."""
        self.run(self._session.close())
        self.run(self.workers[number].stop())
        self.workers[number] = self.run(Worker.start(self._home))
        self._session = self.run(_new_session())

    def public(self, repository: str) -> bool:
        """Return whether it is public: in all models alike, for only administration decides it."""
        return self.models[0].at(repository).public

    def rights(self, request: Request) -> tuple[dict[str, str], dict[str, frozenset[str]]]:
        """Return the request's credentials, and what they are good for."""
        names = [name for name in (request.repository, request.source) if name]
        public = {name: self.public(name) for name in names}
        caller = CALLERS[request.caller]
        if request.how == "basic":
            granted = {name: caller.rights(name, public=it) for name, it in public.items()}
            if request.caller == "nobody":
                granted = {}
            return self._wallet.basic(request.caller), granted
        worker = self.workers[request.worker]
        fresh = request.how == "fresh"
        held = self.run(
            self._wallet.bearer(self._session, worker, request.caller, public, fresh=fresh)
        )
        return {"Authorization": f"Bearer {held.text}"}, held.granted

    async def _send(self, request: Request, credentials: dict[str, str]) -> Answer:
        client = Client(self._session, self.workers[request.worker].url)
        data: bytes | AsyncIterator[bytes] | None = request.data
        if request.streamed and request.data:
            data = _pieces(request.data)
        headers = {**credentials, **request.headers}
        answer = await client.raw(request.method, request.path, headers, data)
        self._setting.tally.answered(answer.status)
        return answer

    def ask(self, request: Request, act: Act) -> Answer:
        """Send it and hold the answer against the models."""
        credentials, granted = self.rights(request)
        lacking = request.need not in granted.get(request.repository, frozenset())
        if lacking if request.need else not credentials:
            act = _denied
        answer: Answer = self.run(self._send(request, credentials))
        self._keep([self._after([act], [answer], model) for model in self.models], [answer])
        return answer

    def race(self, requests: Sequence[Request], orders: Sequence[Order]) -> None:
        """Send all at once; the answers must be those of one of the orders.

        Their callers have the rights they need.
        """
        credentials = [self.rights(each)[0] for each in requests]

        async def all_at_once() -> list[Answer]:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._send(each, known))
                    for each, known in zip(requests, credentials, strict=True)
                ]
            return [task.result() for task in tasks]

        answers: list[Answer] = self.run(all_at_once())
        found = [
            self._after([act for _, act in order], [answers[at] for at, _ in order], model)
            for model in self.models
            for order in orders
        ]
        self._keep(found, answers)

    def _after(self, acts: list[Act], answers: list[Answer], model: Model) -> Model | str:
        """Return the model after these requests; what is wrong when the answers do not fit it."""
        model = model.copy()
        for act, answer in zip(acts, answers, strict=True):
            wrong = difference(act(model), answer)
            if wrong:
                return wrong
        return model

    def _keep(self, found: list[Model | str], answers: list[Answer]) -> None:
        kept: list[Model] = []
        for model in found:
            if isinstance(model, Model) and model not in kept:
                kept.append(model)
        said = [f"{one.status} {dict(one.headers)} {one.body[:300]!r}" for one in answers]
        assert kept, f"no model explains it: {found}; the registry said {said}"
        self.models = kept

    def opened(self, answer: Answer, repository: str, user: str) -> str:
        """Know the session that an answer speaks of; return its id."""
        upload = answer.headers["Docker-Upload-UUID"]
        assert answer.headers["Location"] == f"/v2/{repository}/blobs/uploads/{upload}"
        for model in self.models:
            model.begun(upload, repository, user)
        return upload

    def cut(self, request: Request, upload: str, missing: int) -> None:
        """Send a body that breaks off; any part of what was sent may have been kept."""
        credentials, _ = self.rights(request)
        data = request.data or b""
        self.run(self._cut(request, credentials, len(data) + missing))
        look = replace(request, method="GET", data=None)
        answer: Answer = self.run(self._send(look, credentials))
        found: list[Model | str] = []
        for model in self.models:
            session = model.sessions.get(upload)
            before = len(session.data) if session else 0
            reached = int(answer.headers.get("Range", "0-0").partition("-")[2])
            found += [
                self._after([_resumed(request, upload, kept)], [answer], model)
                for kept in {0, 1, reached + 1 - before}
                if kept in range(len(data) + 1)
            ]
        self._keep(found, [answer])

    async def _cut(self, request: Request, credentials: dict[str, str], announced: int) -> None:
        worker = self.workers[request.worker]
        before = len(worker.connections.connections)
        _, writer = await asyncio.open_connection("127.0.0.1", worker.port)
        lines = [f"{request.method} {request.path} HTTP/1.1", "Host: registry"]
        lines += [f"{name}: {value}" for name, value in credentials.items()]
        lines += [f"Content-Length: {announced}", "", ""]
        writer.write("\r\n".join(lines).encode() + (request.data or b""))
        await writer.drain()
        while len(worker.connections.connections) <= before:  # noqa: ASYNC110  nothing tells
            await asyncio.sleep(0)
        writer.close()
        await writer.wait_closed()
        async with asyncio.timeout(60):
            while len(worker.connections.connections) > before:  # noqa: ASYNC110  likewise
                await asyncio.sleep(0.001)


def difference(expected: Expected, answer: Answer) -> str:
    """Return what an answer has that it should not; "" when it is right."""
    if answer.status != expected.status:
        return f"expected {expected.status} {expected.code}"
    for name, value in expected.headers.items():
        if answer.headers.get(name) != value:
            return f"expected {name}: {value}"
    if expected.body is not None:
        if int(answer.headers["Content-Length"]) != len(expected.body):
            return f"expected {len(expected.body)} bytes"
        if answer.body not in (expected.body, b""):  # HEAD has none; `judge` knows when
            return "the bytes are wrong"
    return _json_difference(expected, json.loads(answer.body)) if _said(expected, answer) else ""


def _said(expected: Expected, answer: Answer) -> bool:
    return bool(answer.body) and (bool(expected.code) or expected.json is not None)


def _json_difference(expected: Expected, said: Any) -> str:
    if expected.code:
        return "" if said["errors"][0]["code"] == expected.code else f"expected {expected.code}"
    return "" if said == expected.json else f"expected {expected.json}"


def _resumed(request: Request, upload: str, kept: int) -> Act:
    """Return what looking at a session says after that many bytes of a cut request."""

    def act(model: Model) -> Expected:
        if upload in model.sessions:
            model.sessions[upload].data += (request.data or b"")[:kept]
        return model.status(request.repository, request.caller, upload)

    return act


def _denied(model: Model) -> Expected:
    del model
    return DENIED


async def _new_session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(auto_decompress=False)


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    size = max(1, len(data) // 3)
    for start in range(0, len(data), size):
        yield data[start : start + size]

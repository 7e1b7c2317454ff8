"""Requests of any form at every row of the document: none fails, and all answers are as it says.

The bodies are made of the document itself, and now and then of anything at all.
"""

import asyncio
import base64
import http.client
import json
import shutil
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.api.conftest import running
from tests.api.running import PASSWORD, make_parts
from tests.console.from_schema import ANY, TEXTS, values_of
from tests.console.test_api import STORE, validate
from tests.contracts.metadata_values import ACTOR
from tests.examples import examples
from treescale.console.problems import TYPE
from treescale.console.route import PREFIX

EXAMPLES: Final = 300
EXAMPLES_MIN: Final = 100
"""So many have each kind of answer among them."""
JSON: Final = "application/json"
READ_ONLY: Final = TYPE + "read-only"
QUIET: Final = {"wait": st.sampled_from(["0", "x"]), "follow": st.sampled_from(["0", "", "no"])}
"""What would have an answer take its time."""
NAMES: Final = {
    "user": st.sampled_from(["alice", "bob", "carol", "nobody", "x" * 300, "a/b"]),
    "target": st.sampled_from([STORE.store_id, "/data", "none"]) | TEXTS,
    "setting": st.sampled_from(["copies", "undelete", "hooks", "none"]) | TEXTS,
}
Document = dict[str, Any]


@dataclass(frozen=True)
class Server:
    """A registry in another thread, whom root asks."""

    connection: http.client.HTTPConnection

    def ask(
        self, method: str, path: str, body: object = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        secret = base64.b64encode(f"root:{PASSWORD}".encode()).decode()
        headers = {"Authorization": f"Basic {secret}"}
        if body is not None:
            headers["Content-Type"] = JSON
        data = None if body is None else json.dumps(body).encode()
        self.connection.request(method, PREFIX + path, body=data, headers=headers)
        answer = self.connection.getresponse()
        return answer.status, dict(answer.headers), answer.read()


@pytest.fixture
def server(tmp_path: Path, database_file: Path, threads: Executor) -> Iterator[Server]:
    copy = tmp_path / "treescale.db"
    shutil.copy(database_file, copy)
    begun, urls = threading.Event(), list[str]()
    loops = list[tuple[asyncio.AbstractEventLoop, asyncio.Event]]()

    async def serve() -> None:
        parts = await make_parts(copy, threads)
        await parts.accounts.add_user("root", PASSWORD, actor=ACTOR, admin=True)
        await parts.database.organisations.add("acme", "alice", actor=ACTOR)
        await parts.database.stores.register(STORE)
        async with running(parts) as registry:
            urls.append(registry.url)
            end = asyncio.Event()
            loops.append((asyncio.get_running_loop(), end))
            begun.set()
            await end.wait()

    with capture_logs():
        thread = threading.Thread(target=lambda: asyncio.run(serve()))
        thread.start()
        assert begun.wait(30)
        where = urlsplit(urls[0])
        assert where.hostname is not None
        connection = http.client.HTTPConnection(where.hostname, where.port, timeout=30)
        yield Server(connection)
        connection.close()
        loop, end = loops[0]
        loop.call_soon_threadsafe(end.set)
        thread.join(30)
    assert not thread.is_alive()


def requests_of(document: Document) -> st.SearchStrategy[tuple[Document, str, str, Any]]:
    """Return a strategy of operations, each with a method, a path and a body."""
    schemas = document["components"]["schemas"]
    rows = [
        (path.removeprefix(PREFIX), method, operation)
        for path, each in document["paths"].items()
        for method, operation in each.items()
    ]

    @st.composite
    def one(draw: st.DrawFn) -> tuple[Document, str, str, Any]:
        path, method, operation = draw(st.sampled_from(rows))
        query = []
        for parameter in operation.get("parameters", ()):
            name = parameter["name"]
            if parameter["in"] == "path":
                given_name = draw(NAMES.get(name, TEXTS))
                path = path.replace(f"{{{name}}}", quote(given_name, safe=""))
            elif draw(st.booleans()):
                query.append(f"{name}={quote(draw(QUIET.get(name, TEXTS)), safe='')}")
        body = None
        if "requestBody" in operation:
            schema = operation["requestBody"]["content"][JSON]["schema"]
            nearly = draw(st.integers(0, 9)) == 0
            body = draw(ANY if nearly else values_of(schema, schemas))
        return operation, method.upper(), "?".join([path, "&".join(query)]).rstrip("?"), body

    return one()


def test_no_request_fails_and_each_answer_is_as_the_document_says(server: Server) -> None:
    document = json.loads(server.ask("GET", "/openapi.json")[2])
    problems = document["components"]["schemas"]["ProblemDetails"]
    statuses = set[int]()

    @settings(
        max_examples=max(examples(EXAMPLES), EXAMPLES_MIN),
        deadline=None,
        database=None,
        suppress_health_check=[*HealthCheck],
    )
    @given(requests_of(document))
    def try_it(request: tuple[Document, str, str, Any]) -> None:
        operation, method, path, body = request
        status, headers, payload = server.ask(method, path, body)
        found = json.loads(payload)
        statuses.add(status)
        if status == 200:
            content = operation["responses"]["200"]["content"][JSON]["schema"]
            validate(found, content, document)
            return
        assert headers["Content-Type"] == "application/problem+json"
        validate(found, problems, document)
        assert status < 500 or found["type"] == READ_ONLY, (method, path, body, found)
        if found["type"] == READ_ONLY:
            server.ask("PUT", "/read-only", {"read_only": False})

    try_it()
    assert {200, 400, 404} <= statuses

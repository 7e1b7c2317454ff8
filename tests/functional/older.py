"""The registries that people come from: docker-registry itself, and a stand-in for Harbor."""

import http.client
import json
import threading
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.functional.programs import Program, free_port
from tests.functional.server import Account

READER = Account("reader", "secret of reader")
HTPASSWD = """\
reader:$2y$04$kjnYgbKO61Urco2ZyBkkYO0RY12tLxadBanhgSKrkPKUKqaMdtV0S
alice:$2y$04$bhEhsJ1YXQbc3GAdnx4Gq.F0XK5YGk4SXTM0QI6CjEZvRs5XfM1Mi
"""
"""Of docker-registry, bcrypt."""


class DockerRegistry:
    """Debian's docker-registry, with logins or without."""

    def __init__(self, home: Path, *, logins: bool) -> None:
        self.port = free_port()
        self.htpasswd = home / "htpasswd"
        home.mkdir()
        self.htpasswd.write_text(HTPASSWD)
        settings = {
            "version": 0.1,
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(home / "root")}},
            "http": {"addr": self.address},
        }
        if logins:
            settings["auth"] = {"htpasswd": {"realm": "old", "path": str(self.htpasswd)}}
        (home / "config.yml").write_text(json.dumps(settings))  # JSON is YAML
        words = ("docker-registry", "serve", home / "config.yml")
        self.program = Program(*words, log=home / "log")

    @property
    def address(self) -> str:
        """Return host and port."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> "DockerRegistry":
        """Return it once it answers."""
        self.program.start_until("docker-registry answers", self._answers, seconds=20)
        return self

    def connect(self) -> http.client.HTTPConnection:
        """Return a new connection."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def _answers(self) -> bool:
        connection = self.connect()
        try:
            connection.request("GET", "/v2/")
            return connection.getresponse().status in (200, 401)
        except OSError:
            return False
        finally:
            connection.close()


@dataclass
class Harbor:
    """What Harbor's API says, as its description has it; images are docker-registry's behind it."""

    images: DockerRegistry
    lists: Mapping[str, Sequence[Any]]
    """By path below `/api/v2.0`, with the question where there is one."""
    referrers: Mapping[str, Sequence[Mapping[str, object]]] = field(default_factory=dict)
    unpaged: Sequence[str] = ()
    """Lists that are given whole, whatever page is asked for."""
    address: str = ""

    @contextmanager
    def running(self) -> Iterator["Harbor"]:
        """Have it answer."""
        harbor = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                harbor.answer(self)

            do_HEAD = do_GET  # noqa: N815  as its base class has it

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def answer(self, call: BaseHTTPRequestHandler) -> None:
        """Answer a request."""
        url = urllib.parse.urlsplit(call.path)
        if url.path.startswith("/api/v2.0/"):
            asked = dict(urllib.parse.parse_qsl(url.query))
            page, size = int(asked.pop("page", "1")), min(int(asked.pop("page_size", "10")), 100)
            name = url.path.removeprefix("/api/v2.0/") + "".join(f"?{q}" for q in asked.values())
            found = self.lists[name]
            if name not in self.unpaged:
                found = found[(page - 1) * size : page * size]
            _send(call, 200, {"Content-Type": "application/json"}, json.dumps(found).encode())
        elif "/referrers/" in url.path:
            found = self.referrers.get(url.path.rpartition("/")[2], ())
            index = {"schemaVersion": 2, "manifests": found}
            _send(call, 200, {}, json.dumps(index).encode())
        else:
            connection = self.images.connect()
            kept = {"Accept": ", ".join(call.headers.get_all("Accept", ["*/*"]))}
            connection.request(call.command, call.path, headers=kept)
            answer = connection.getresponse()
            wanted = ("Content-Type", "Docker-Content-Digest", "Docker-Distribution-Api-Version")
            headers = {name: value for name in wanted if (value := answer.getheader(name))}
            _send(call, answer.status, headers, answer.read())
            connection.close()


def _send(
    call: BaseHTTPRequestHandler, status: int, headers: Mapping[str, str], body: bytes
) -> None:
    call.send_response(status)
    for name, value in headers.items():
        call.send_header(name, value)
    call.send_header("Content-Length", str(len(body)))
    call.end_headers()
    if call.command == "GET":
        call.wfile.write(body)

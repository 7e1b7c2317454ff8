"""An issuer of ID tokens that real servers ask for its keys, by HTTPS."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.certificates import DAY, Authority
from tests.functional.cluster.record import CLOCK
from tests.id_tokens import RSA_KEY, Maker, jwk, jwks
from treescale.registry.issuers.keys import DISCOVERY


@dataclass
class Issuer:
    """What signs, what it is called, and who vouches for its certificate; what was asked of it."""

    url: str
    ca_file: Path
    asked: list[str] = field(default_factory=list)

    def token(self, audience: str, **claims: Any) -> str:
        """Return an ID token of just now."""
        claims = {"repository": "acme/app", "repository_owner_id": "42", **claims}
        return Maker(self.url, CLOCK.now(), audience, claims=claims, made=id(claims)).token()


@contextmanager
def issuing(host: str, home: Path) -> Iterator[Issuer]:
    """Be an issuer for the time of a block."""
    authority, now = Authority(), CLOCK.now()
    pair = authority.pair(now - DAY, now + DAY, host)
    ca_file, chain, key = home / "ca.pem", home / "issuer.pem", home / "issuer.key"
    ca_file.write_bytes(authority.pem)
    chain.write_bytes(pair.certificate)
    key.write_bytes(pair.key)
    issuer = Issuer("", ca_file)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.asked.append(self.path)
            body = jwks(jwk(RSA_KEY, "k1"))
            if self.path == DISCOVERY:
                document = {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/keys"}
                body = json.dumps(document).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    server = ThreadingHTTPServer((host, 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.daemon_threads = True
    issuer.url = f"https://{host}:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield issuer
    server.shutdown()
    server.server_close()

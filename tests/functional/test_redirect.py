"""A port that sends plain HTTP to HTTPS, with curl; and certbot's challenges on it."""

import socket
from pathlib import Path

from tests.functional.conftest import Serve
from tests.functional.programs import free_port, outcome, run
from tests.functional.server import Options


def test_curl_is_led_to_https_and_finds_challenges(serve: Serve, tmp_path: Path) -> None:
    port, webroot = free_port(), tmp_path / "webroot"
    challenge = webroot / ".well-known" / "acme-challenge" / "token-1"
    challenge.parent.mkdir(parents=True)
    challenge.write_text("token-1.thumbprint")
    variables = (
        ("TREESCALE_REDIRECT_LISTEN", f"127.0.0.1:{port}"),
        ("TREESCALE_ACME_WEBROOT", str(webroot)),
    )
    server = serve(Options(tls=True, variables=variables))
    plain = f"http://127.0.0.1:{port}"
    trusting = ("curl", "-sS", "--cacert", server.certificate)
    head = run("curl", "-sSi", f"{plain}/v2/?n=1")
    assert head.startswith("HTTP/1.1 308 ")
    assert f"Location: https://{server.address}/v2/?n=1" in head
    code = run(*trusting, "-L", "-o", "/dev/null", "-w", "%{http_code}", f"{plain}/readyz")
    assert code == "200"
    assert run("curl", "-sS", f"{plain}/.well-known/acme-challenge/token-1") == (
        "token-1.thumbprint"
    )
    for target in ("/%0d%0aX-Evil:1", "/a%2Fb?n=%2F", "//evil.example"):
        head = run("curl", "-sSi", "--path-as-is", f"{plain}{target}")
        assert f"Location: https://{server.address}{target}\n" in head.replace("\r", "")
    with socket.create_connection(("127.0.0.1", port), timeout=5) as wire:
        wire.sendall(b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 400 " in wire.recv(4096).partition(b"\r\n")[0]
    body = tmp_path / "body"
    body.write_bytes(b"x" * 3_000_000)
    posted = run("curl", "-sS", "-T", body, "-o", "/dev/null", "-w", "%{http_code}", f"{plain}/v2/")
    assert posted == "308", "who sends a body reads the answer, too"
    assert server.stop() == 0
    assert outcome("curl", "-sS", f"{plain}/healthz")[0] != 0

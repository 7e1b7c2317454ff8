"""Plain HTTP is told where HTTPS is, on this host alone; challenges of ACME are served."""

from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from tests.tables import each_row
from treescale.http.redirect import CHALLENGE_BYTES_MAX, CHALLENGES, Redirect

PUBLIC = "https://registry.example"
TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"


async def ask(
    redirect: Redirect, path: str, host: str | None = "registry.example", method: str = "GET"
) -> web.Response:
    headers = {} if host is None else {"Host": host}
    answer = await redirect.handle(make_mocked_request(method, path, headers))
    assert isinstance(answer, web.Response)
    return answer


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_every_request_is_sent_to_the_same_path_with_https(method: str) -> None:
    path = "/v2/a/b/blobs/uploads/?digest=sha256:0&n=1"
    answer = await ask(Redirect("", 443), path, method=method)
    assert (answer.status, answer.headers["Location"]) == (308, PUBLIC + path)
    assert answer.headers["Cache-Control"] == "no-store"


@each_row(
    ("public_url", "port", "host", "place"),
    [
        ("", 443, "registry.example:80", "https://registry.example/x"),
        ("", None, "registry.example", "https://registry.example/x"),
        ("", 5000, "registry.example:8080", "https://registry.example:5000/x"),
        ("", 5000, "[2001:DB8::1]:80", "https://[2001:db8::1]:5000/x"),
        ("", 443, "10.0.0.1", "https://10.0.0.1/x"),
        (PUBLIC, 5000, "elsewhere.example", PUBLIC + "/x"),
        (PUBLIC, 5000, None, PUBLIC + "/x"),
        ("http://registry.example", 443, "s1.example", "https://s1.example/x"),
    ],
)
async def test_where_it_leads(
    public_url: str, port: int | None, host: str | None, place: str
) -> None:
    answer = await ask(Redirect(public_url, port), "/x", host)
    assert (answer.status, answer.headers["Location"]) == (308, place)


@each_row(
    "host", [None, "", "a b", "evil.example/x", "user@evil.example", "a:99999", "[::1", "%0d"]
)
async def test_without_a_host_it_leads_nowhere(host: str | None) -> None:
    answer = await ask(Redirect("", 443), "/x", host)
    assert answer.status == 400
    assert "Location" not in answer.headers


@each_row("path", ["//evil.example/x", "/@evil.example", "/.evil.example", "/:80"])
async def test_no_path_leads_to_another_host(path: str) -> None:
    answer = await ask(Redirect("", 443), path)
    assert answer.headers["Location"].startswith(PUBLIC + "/")


async def test_whoever_looks_whether_we_are_alive_is_told() -> None:
    assert (await ask(Redirect(PUBLIC, 443), "/healthz")).text == "alive\n"
    assert (await ask(Redirect(PUBLIC, 443), "/healthz", method="POST")).status == 308


class TestChallenges:
    @pytest.fixture
    def webroot(self, tmp_path: Path) -> Path:
        (tmp_path / CHALLENGES).mkdir(parents=True)
        (tmp_path / CHALLENGES / TOKEN).write_text(f"{TOKEN}.thumbprint")
        (tmp_path / "secret").write_text("secret")
        return tmp_path

    async def test_what_the_client_has_written_is_served(self, webroot: Path) -> None:
        answer = await ask(Redirect(PUBLIC, 443, str(webroot)), f"/{CHALLENGES}/{TOKEN}")
        assert (answer.status, answer.body) == (200, f"{TOKEN}.thumbprint".encode())

    async def test_without_a_directory_it_is_a_request_like_any(self) -> None:
        assert (await ask(Redirect(PUBLIC, 443), f"/{CHALLENGES}/{TOKEN}")).status == 308

    async def test_nothing_else_is_served(self, webroot: Path) -> None:
        challenges = webroot / CHALLENGES
        (challenges / "link").symlink_to(webroot / "secret")
        (challenges / "directory").mkdir()
        (challenges / "large").write_bytes(b"x" * (CHALLENGE_BYTES_MAX + 1))
        redirect = Redirect(PUBLIC, 443, str(webroot))
        for name in ("link", "directory", "large", "absent"):
            assert (await ask(redirect, f"/{CHALLENGES}/{name}")).status == 404, name
        for name in ("", "../../secret", "..%2f..%2fsecret", "a/b", "." * 2, "x" * 256):
            assert (await ask(redirect, f"/{CHALLENGES}/{name}")).status in (308, 404), name

"""Servers that verify each other: who has a foreign certificate is not spoken to."""

import json
from pathlib import Path

from tests.functional.certificates import Authority
from tests.functional.conftest import Serve
from tests.functional.programs import wait_until
from tests.functional.server import Options, Server
from tests.functional.wire import Wire


def started(serve: Serve, url: str, pair: Path, authority: Authority) -> Server:
    return serve(
        Options(
            tls=True,
            database=url,
            certificate=(pair / "tls.crt", pair / "tls.key"),
            variables=(("TREESCALE_PEER_CA", str(authority.certificate)),),
            fit="/healthz",
        )
    )


def down(server: Server) -> set[str]:
    """Return whom a server does not reach for their certificates, as its log says."""
    lines = [line for line in server.log.read_text().splitlines() if "peer.state" in line]
    told = [json.loads(line) for line in lines]
    why = "must be signed by an authority in peer_ca"
    return {
        one["url"].removeprefix("https://")
        for one in told
        if one["state"] == "down" and why in one["reason"]
    }


def test_an_expired_certificate_splits_nothing_and_a_foreign_one_is_not_spoken_to(
    serve: Serve, postgres_url: str, tmp_path: Path
) -> None:
    authority, stranger = Authority(tmp_path / "ours"), Authority(tmp_path / "another")
    first = started(serve, postgres_url, authority.pair(), authority)
    expired = started(serve, postgres_url, authority.pair(days=-1), authority)
    account = first.add_user("grace")
    wait_until("both are fit", lambda: all(fit(each) for each in (first, expired)))
    digest = Wire(first, account).push_blob("grace/app", b"x" * 3_000_000)
    assert Wire(expired, account).pull_blob("grace/app", digest) == b"x" * 3_000_000

    def told() -> bool:
        advice = first.status()["advice"]
        return any("has expired" in one["text"] for one in advice if one["about"] == "certificate")

    wait_until("the expired one is told of", told)
    foreign = started(serve, postgres_url, stranger.pair(), authority)
    wait_until("the foreign one is not reached", lambda: down(first) == {foreign.address})


def fit(server: Server) -> bool:
    """Say whether it says that it is fit to serve."""
    connection = server.connect(seconds=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    finally:
        connection.close()

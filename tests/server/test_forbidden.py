"""What no webhook may reach, whatever is allowed: this server, its peers, the database."""

import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.metadata_values import ACTOR, server
from tests.fakes_disk import JumpingClock
from tests.templates import empty_database
from treescale.config import Settings
from treescale.errors import AddressForbidden
from treescale.metadata.database import Database, open_database
from treescale.metadata.events.hook_records import NETWORKS_SETTING
from treescale.metadata.records import ServerRecord
from treescale.outbound.networks import NEVER, Networks, parse_targets
from treescale.server.network import forbidden as under_test
from treescale.server.network.forbidden import (
    DATABASE,
    LISTENER,
    PEER,
    Place,
    database_places,
    forbidden,
    own_places,
    peer_places,
)
from treescale.server.network.outbound_clients import HOOKS, LOOK_SECONDS, OutboundClients

EVERYTHING = "0.0.0.0/0,::/0"
SETTINGS = Settings(
    listen=("0.0.0.0:5000", "unix:/run/treescale.sock"),
    listen_proxy=("[::]:5001",),
    metrics_listen="10.0.0.1:9100",
    redirect_listen=("0.0.0.0:80",),
    database="postgresql://u:p@db.example:6432,10.0.0.9/x",
)


def at(server_id: str, address: str) -> ServerRecord:
    return replace(server(server_id), address=address)


def test_every_listener_is_refused_at_each_address_of_the_machine() -> None:
    found = own_places(SETTINGS, ["10.0.0.1", "fd00::1"])
    assert {(each.host, each.port) for each in found} == {
        (host, port) for host in ("10.0.0.1", "fd00::1") for port in (80, 5000, 5001, 9100)
    }
    assert {each.what for each in found} == {LISTENER}


def test_peers_are_where_they_say_and_the_database_where_its_url_does() -> None:
    peers = [at("a", "https://a.example:5000"), at("b", "http://b")]
    assert peer_places(peers) == [Place("a.example", 5000, PEER), Place("b", 80, PEER)]
    assert database_places(SETTINGS.database) == [
        Place("db.example", 6432, DATABASE),
        Place("10.0.0.9", 5432, DATABASE),
    ]
    assert database_places("postgresql:///x?host=/run/postgresql") == []
    assert database_places("sqlite:///x") == []


async def test_they_are_refused_by_address_whatever_is_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = {"db.example": "10.0.0.7", "a.example": "10.0.0.8"}

    def looked_up(host: str, port: int, *_: Any, **__: Any) -> Any:
        if host == "gone.example":
            raise socket.gaierror
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (known.get(host, host), port))]

    monkeypatch.setattr(socket, "getaddrinfo", looked_up)
    monkeypatch.setattr(under_test, "addresses", lambda: ["10.0.0.1"])
    peers = [at("a", "https://a.example"), at("b", "http://gone.example")]
    networks = Networks(parse_targets(EVERYTHING), (*NEVER, *await forbidden(SETTINGS, peers)))
    for host, port, why in (
        ("10.0.0.1", 5000, LISTENER),
        ("::ffff:10.0.0.1", 5000, LISTENER),
        ("10.0.0.1", 9100, LISTENER),
        ("10.0.0.7", 6432, DATABASE),
        ("10.0.0.9", 5432, DATABASE),
        ("10.0.0.8", 443, PEER),
        ("10.0.0.8", 8080, ""),
        ("10.0.0.1", 8080, ""),  # what else runs on this machine
    ):
        assert networks.refusal(host, port) == why, (host, port)
    strict = Networks((), networks.never)
    for host, port in (("10.0.0.7", 6432), ("10.0.0.8", 443), ("10.0.0.2", 5432)):
        assert "private" in strict.refusal(host, port), "it tells where the database is"
    assert strict.refusal("127.0.0.1", 5000) == "the server itself"


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return open_database(empty_database(tmp_path / "treescale.db"))


async def test_what_is_allowed_and_what_is_ours_is_looked_at_again(database: Database) -> None:
    clock = JumpingClock()
    clients = OutboundClients(Settings(database="sqlite:///x"), database, clock, HOOKS)
    first = await clients.client()
    assert await clients.client() is first
    await database.settings.put(NETWORKS_SETTING, "127.0.0.0/8,10.0.0.0/8")
    peer = at("a", "http://10.255.255.1:1")
    await database.servers.register(peer, live_seconds=1.0, actor=ACTOR)
    with pytest.raises(AddressForbidden, match="private network"):
        await first.ask("POST", "http://10.255.255.1:1/")
    clock.seconds += LOOK_SECONDS
    later = await clients.client()
    with pytest.raises(AddressForbidden, match=PEER):
        await later.ask("POST", "http://10.255.255.1:1/")
    with pytest.raises(AddressForbidden, match="the server itself"):
        await later.ask("POST", "http://127.0.0.1:1/")
    await database.close()

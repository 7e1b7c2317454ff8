"""Requests sent over and over to two workers, as by who polls a tag: no answer is an old one."""

import http.client
import json
import time
from base64 import b64encode
from typing import Final

from tests.functional.server import Account, Server
from tests.functional.wire import Wire

INDEX: Final = "application/vnd.oci.image.index.v1+json"
CONNECTIONS: Final = 8
"""To both workers, almost surely."""
MOVES: Final = 60
REVOKED_SECONDS_MAX: Final = 60.0


def index(number: int) -> bytes:
    """Return an index like no other."""
    document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
    return json.dumps({**document, "annotations": {"number": str(number)}}).encode()


def token_of(server: Server, account: Account) -> str:
    """Return a token with which the account reads its repository."""
    pair = b64encode(f"{account.name}:{account.password}".encode()).decode()
    connection = server.connect()
    path = f"/token?scope=repository:{account.name}/app:pull"
    connection.request("GET", path, headers={"Authorization": f"Basic {pair}"})
    token: str = json.loads(connection.getresponse().read())["token"]
    connection.close()
    return token


def asked(connection: http.client.HTTPConnection, path: str, token: str) -> tuple[int, bytes]:
    """Return status and body of a GET on a connection that stays."""
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
    response = connection.getresponse()
    return response.status, response.read()


def test_who_asks_again_and_again_hears_what_is_so(server: Server, alice: Account) -> None:
    wire, place = Wire(server, alice), f"/v2/{alice.name}/app/manifests/latest"
    wire.request("PUT", place, index(0), {"Content-Type": INDEX}).expect(201)
    token = token_of(server, alice)
    connections = [server.connect() for _ in range(CONNECTIONS)]
    for number in range(1, MOVES + 1):
        wire.request("PUT", place, index(number), {"Content-Type": INDEX}).expect(201)
        for _ in range(3):
            found = {asked(each, place, token) for each in connections}
            assert found == {(200, index(number))}
    server.admin("user", "suspend", alice.name)
    until = time.monotonic() + REVOKED_SECONDS_MAX
    statuses = {200}
    while statuses != {401}:
        assert time.monotonic() < until, statuses
        statuses = {asked(each, place, token)[0] for each in connections}
    assert {asked(each, place, token)[0] for each in connections} == {401}
    server.admin("user", "resume", alice.name)
    for each in connections:
        each.close()

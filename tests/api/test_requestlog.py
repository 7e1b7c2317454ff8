"""One log line per request, whoever answered it."""

import asyncio
from ipaddress import IPv4Network
from typing import Final

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from tests.api.client import Client
from tests.api.running import Running
from tests.oci.documents import OCI_MANIFEST, descriptor, encoded
from treescale.metadata.events.recording import Kind
from treescale.metadata.schema import events

BY_CLIENTS: Final = {
    Kind.IMAGE_PUSHED: "PUT",
    Kind.REFERRER_ADDED: "PUT",
    Kind.REPOSITORY_CREATED: "PUT",
    Kind.TAG_DELETED: "DELETE",
    Kind.IMAGE_DELETED: "DELETE",
}
"""What a client does over HTTP, with the method of the request whose line says so."""
BY_COMMANDS: Final = frozenset(
    {
        Kind.IMAGE_RESTORED,
        Kind.IMAGE_PURGED,
        Kind.REPOSITORY_DELETED,
        Kind.REPOSITORY_RESTORED,
        Kind.REPOSITORY_PURGED,
        Kind.REPOSITORY_MOVED,
        Kind.REPOSITORY_VISIBILITY,
        Kind.NAMESPACE_VISIBILITY,
        Kind.REPOSITORY_DESCRIPTION,
        Kind.NAMESPACE_DESCRIPTION,
        Kind.ORGANISATION_CREATED,
        Kind.ORGANISATION_REMOVED,
        Kind.MEMBER_GRANTED,
        Kind.MEMBER_REVOKED,
        Kind.TOKEN_CREATED,
        Kind.TOKEN_REVOKED,
        Kind.USER_CREATED,
        Kind.USER_REMOVED,
        Kind.USER_PASSWORD,
        Kind.USER_SUSPENDED,
        Kind.USER_RESUMED,
        Kind.USER_ADMIN,
        Kind.USER_INVITED,
        Kind.USER_SESSIONS,
        Kind.USER_UNINVITED,
        Kind.USER_RESET,
        Kind.SIGN_ON_ADDED,
        Kind.SIGN_ON_REMOVED,
        Kind.SIGN_ON_LINKED,
        Kind.SIGN_ON_UNLINKED,
        Kind.BACKUP_MADE,
        Kind.REPOSITORY_READ_ONLY,
        Kind.NAMESPACE_READ_ONLY,
        Kind.CLUSTER_READ_ONLY,
        Kind.CLUSTER_LIMITS,
        Kind.NAMESPACE_LIMITS,
        Kind.HOOK_ADDED,
        Kind.HOOK_ENABLED,
        Kind.HOOK_REMOVED,
        Kind.HOOK_ROTATED,
        *(kind for kind in Kind if kind.startswith(("robot.", "issuer.", "rule."))),
        Kind.SETTING_CHANGED,
    }
)
"""What a command does on the database: it has a row with its actor, and no address. An exchange is
by a robot, whose `last_address` is kept."""
BY_SERVERS: Final = frozenset(
    {
        Kind.SERVER_REGISTERED,
        Kind.SERVER_FORGOTTEN,
        Kind.SERVER_DOWN,
        Kind.SERVER_UP,
        Kind.STORE_STATE,
        Kind.STORE_SUSPECT,
        Kind.STORE_BACK,
        Kind.CHUNK_LOST,
        Kind.CHUNK_HEALED,
        Kind.LAYOUT_CHANGED,
        Kind.HOOK_DISABLED,
        Kind.IMAGE_PULLED,
        Kind.UPLOAD_REFUSED,
        Kind.QUOTA_WARNED,
        Kind.QUOTA_REACHED,
        Kind.RETENTION_RAN,
        Kind.LOGIN_SUCCEEDED,
        Kind.LOGIN_REFUSED,
        Kind.REPAIR_FINISHED,
        Kind.COLLECT_FINISHED,
    }
)
"""What servers do by themselves, and commands have them do; their log has lines of their own."""


async def test_a_request_is_one_line_that_says_who_and_what(alice: Client) -> None:
    with capture_logs() as lines:
        await alice.request("GET", "/v2/", headers={"X-Request-Id": "r" * 100})
        await alice.repository("alice/app").get("manifests/none")
    alices = [line for line in lines if line["event"] == "request" and line["user"] == "alice"]
    told = [line for line in alices if line["path"] != "/token"]
    assert len(alices) == len(told) + 2, "who is given a token is known too"
    assert [(line["method"], line["path"], line["status"]) for line in told] == [
        ("GET", "/v2/", 200),
        ("GET", "/v2/alice/app/manifests/none", 404),
    ]
    assert told[0]["request_id"] == "r" * 64
    assert len(told[1]["request_id"]) == 16
    assert all(0 <= line["seconds"] < 60 for line in told)


async def test_what_cannot_be_read_has_its_line_too(registry: Running) -> None:
    host, port = registry.url.removeprefix("http://").split(":")
    with capture_logs() as lines:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /v2/ HTTP/1.1\r\nno colon\r\n\r\n")
        assert b" 400 " in await reader.readline()
        writer.close()
    (line,) = [line for line in lines if line["event"] == "request"]
    assert (line["status"], line["user"]) == (400, "")


async def test_a_line_has_the_client_and_the_bytes(alice: Client) -> None:
    app, layer = alice.repository("alice/app"), b"layer" * 1000
    with capture_logs() as lines:
        digest = await app.push_blob(layer)
        await app.get(f"blobs/{digest}")
        await app.head(f"blobs/{digest}")
        (await app.get(f"blobs/{digest}", Range="bytes=0-9")).expect(206)
        wrong = Client(alice.session, alice.url, "alice", "wrong")
        (await wrong.raw("GET", "/v2/", wrong.basic())).expect(401)
    told = [line for line in lines if line["event"] == "request"]
    assert {line["client"] for line in told} == {"127.0.0.1"}
    (put,) = [line for line in told if line["method"] == "PUT"]
    assert (put["received"], put["sent"]) == (len(layer), 0)
    sent = [line["sent"] for line in told if line["path"].endswith(f"/blobs/{digest}")]
    assert sent == [len(layer), 0, 10]
    assert (told[-1]["status"], told[-1]["client"], told[-1]["user"]) == (401, "127.0.0.1", "")


@pytest.mark.parametrize("trusted_proxies", [[IPv4Network("127.0.0.0/8")]])
async def test_behind_a_proxy_it_is_the_clients_address(alice: Client) -> None:
    wrong = Client(alice.session, alice.url, "alice", "wrong")
    headers = {**wrong.basic(), "X-Forwarded-For": "198.51.100.1, 203.0.113.7:80"}
    with capture_logs() as lines:
        (await wrong.raw("GET", "/token", headers)).expect(401)
    assert [line["client"] for line in lines if line["event"] == "request"] == ["203.0.113.7"]


async def test_a_proxy_that_nobody_named_is_told_once(anybody: Client) -> None:
    with capture_logs() as lines:
        (await anybody.raw("GET", "/v2/")).expect(401)
        assert [line for line in lines if line["event"] == "proxy.untrusted"] == []
        for _ in range(3):
            (await anybody.raw("GET", "/v2/", {"X-Forwarded-For": "203.0.113.7"})).expect(401)
    (told,) = [line for line in lines if line["event"] == "proxy.untrusted"]
    assert told["proxy"] == "127.0.0.1"
    assert "--trusted-proxies 127.0.0.1" in told["advice"]


@pytest.mark.parametrize("trusted_proxies", [[IPv4Network("127.0.0.0/8")]])
async def test_headers_that_contradict_each_other_are_told_once(anybody: Client) -> None:
    both = {"X-Forwarded-For": "203.0.113.7", "Forwarded": "for=198.51.100.1"}
    with capture_logs() as lines:
        for _ in range(3):
            (await anybody.raw("GET", "/v2/", both)).expect(401)
    assert len([line for line in lines if line["event"] == "proxy.contradicts"]) == 1
    assert {line["client"] for line in lines if line["event"] == "request"} == {"127.0.0.1"}


def test_it_is_known_of_every_kind_of_change_who_makes_it() -> None:
    """A new kind belongs in one of the three, and what clients do below in the next test."""
    assert {*BY_CLIENTS, *BY_COMMANDS, *BY_SERVERS} == {*Kind}
    assert len(BY_CLIENTS) + len(BY_COMMANDS) + len(BY_SERVERS) == len(Kind)


async def test_every_change_by_a_client_has_a_line_with_who_from_where_and_its_request(
    registry: Running, alice: Client
) -> None:
    app = alice.repository("alice/app")
    with capture_logs() as lines:
        image = await app.push_image("1", b"layer")
        subject = descriptor(encoded(image), OCI_MANIFEST)
        await app.push_image("signature", b"of it", subject=subject)
        (await app.delete("manifests/signature")).expect(202)
        (await app.delete(f"manifests/{subject['digest']}")).expect(202)
    found = await registry.parts.database.connections.rows(
        select(events).where(events.c.repository == "alice/app")
    )
    assert {row.kind for row in found} == {kind.value for kind in BY_CLIENTS}
    told = [line for line in lines if line["event"] == "request"]
    for row in found:
        method = BY_CLIENTS[Kind(row.kind)]
        changes = [line for line in told if line["method"] == method and line["status"] < 300]
        named = [line for line in changes if line["path"].startswith(f"/v2/{row.repository}/")]
        assert named, row.kind
        assert {(line["user"], line["client"]) for line in named} == {(row.actor, "127.0.0.1")}
        assert all(line["request_id"] for line in named)


async def test_every_login_that_is_refused_has_a_line_with_who_from_where_and_its_request(
    alice: Client,
) -> None:
    """At /v2/, at /token, and once there were too many: then nothing is looked at."""
    guess = Client(alice.session, alice.url, "alice", "a guess at it")
    with capture_logs() as lines:
        statuses = [(await guess.raw("GET", "/token", guess.basic())).status]
        while statuses[-1] != 429 and len(statuses) < 40:
            statuses.append((await guess.raw("GET", "/v2/", guess.basic())).status)
    told = [line for line in lines if line["event"] == "login.refused"]
    requests = [line for line in lines if line["event"] == "request"]
    assert [line["status"] for line in requests] == statuses
    assert [line["request_id"] for line in told] == [line["request_id"] for line in requests]
    assert {(line["user"], line["client"]) for line in told} == {("alice", "127.0.0.1")}
    assert [line["reason"] for line in told[-2:]] == ["credentials", "throttled"]

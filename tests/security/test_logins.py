"""Who exists is nobody's business: known and unknown users cost and say the same (S28).

Counted in argon2 verifications and database look-ups, not in time: the machine's mood decides on
that. One verification takes a tenth of a second, everything around it a millisecond.
"""

from collections import Counter
from typing import Any

import pytest

from tests.api.client import Answer, Client
from tests.api.running import PASSWORD, Running
from treescale.auth.guessing import Urgency
from treescale.auth.passwords import Passwords

CREDENTIALS = [("alice", "wrong password"), ("mallory", "wrong password"), ("mallory", PASSWORD)]


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch, registry: Running) -> Counter[str]:
    """Count what an attempt costs."""
    counted: Counter[str] = Counter()
    verify, get = Passwords._verify, registry.parts.database.users.get

    def counting_verify(self: Passwords, expected: str, data: bytes) -> bool:
        counted["argon2 " + expected.split("$")[3]] += 1
        return verify(self, expected, data)

    async def counting_get(name: str) -> Any:
        counted["user"] += 1
        return await get(name)

    monkeypatch.setattr(Passwords, "_verify", counting_verify)
    monkeypatch.setattr(registry.parts.database.users, "get", counting_get)
    return counted


async def attempt(anybody: Client, how: str, user: str, password: str) -> Answer:
    client = Client(anybody.session, anybody.url, user, password)
    if how == "GET /token":
        return await client.ask_token()
    if how == "POST /token":
        form = f"grant_type=password&username={user}&password={password}".encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return await client.raw("POST", "/token", headers, form)
    return await client.raw("GET", "/v2/", client.basic())


def visible(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    changing = ("Date", "X-Request-Id")
    headers = {name: value for name, value in answer.headers.items() if name not in changing}
    return answer.status, headers, answer.body


@pytest.mark.parametrize("how", ["GET /token", "POST /token", "GET /v2/"])
async def test_known_and_unknown_users_cost_and_answer_alike(
    anybody: Client, work: Counter[str], how: str
) -> None:
    seen = []
    for user, password in CREDENTIALS:
        work.clear()
        answer = await attempt(anybody, how, user, password)
        seen.append((visible(answer.expect(401, "UNAUTHORIZED")), dict(work)))
    assert seen[0] == seen[1] == seen[2]
    assert sum(count for name, count in seen[0][1].items() if name.startswith("argon2")) == 1


async def test_without_the_hash_of_nobody_the_count_differs(
    monkeypatch: pytest.MonkeyPatch, anybody: Client, work: Counter[str]
) -> None:
    """The control: a login that gives up early on unknown users is seen."""
    matches = Passwords.matches

    async def hasty(
        self: Passwords, password_hash: str | None, password: str, urgency: Urgency
    ) -> bool:
        return password_hash is not None and await matches(self, password_hash, password, urgency)

    monkeypatch.setattr(Passwords, "matches", hasty)
    await attempt(anybody, "GET /token", "alice", "wrong password")
    known = dict(work)
    work.clear()
    await attempt(anybody, "GET /token", "mallory", "wrong password")
    assert dict(work) != known


async def test_guessing_is_slowed_for_unknown_users_too(anybody: Client) -> None:
    seen = [
        [(await attempt(anybody, "GET /token", user, f"guess {n}")).status for n in range(8)]
        for user in ("alice", "mallory")
    ]
    assert seen[0] == seen[1]
    assert seen[0][-1] == 429

"""Who asks: users, access tokens and nobody, with the rights that each of them has."""

import json
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import aiohttp

from tests.api.client import CATALOG, EVERYTHING, Client
from tests.api.running import PASSWORD
from tests.fuzz.rig import TERMS, Worker

PULL: Final = "pull"
PUSH: Final = "push"
DELETE: Final = "delete"


@dataclass(frozen=True)
class Caller:
    """Somebody, with what the rules of namespaces and access tokens let them do at most."""

    user: str
    allow: frozenset[str] = frozenset({PULL, PUSH, DELETE})
    glob: str = "*"

    def rights(self, repository: str, *, public: bool) -> frozenset[str]:
        """Return what they may do to a repository."""
        anybody = frozenset({PULL} if public else ())
        own = self.user and repository.startswith(f"{self.user}/")
        return self.allow | anybody if own and fnmatchcase(repository, self.glob) else anybody


CALLERS: Final = {
    "alice": Caller("alice"),
    "bob": Caller("bob"),
    "nobody": Caller("", frozenset({PULL})),
    **{
        name: Caller("alice", frozenset(str(one) for one in terms.allow), terms.repository)
        for name, terms in TERMS.items()
    },
}


@dataclass
class Held:
    """A bearer token, with what it was given for: it keeps that until it ends."""

    text: str
    granted: dict[str, frozenset[str]]


@dataclass
class Wallet:
    """The credentials of all callers, as clients keep them."""

    home: Path
    held: dict[tuple[str, tuple[str, ...]], Held] = field(default_factory=dict)

    def basic(self, name: str) -> dict[str, str]:
        """Return name and password (or access token) as a header; nothing for nobody."""
        if name == "nobody":
            return {}
        secret = PASSWORD
        if name in TERMS:
            secret = (self.home / name).read_text(encoding="ascii")
        return {"Authorization": aiohttp.encode_basic_auth(CALLERS[name].user, secret)}

    async def bearer(
        self,
        session: aiohttp.ClientSession,
        worker: Worker,
        name: str,
        public: dict[str, bool],
        *,
        fresh: bool,
    ) -> Held:
        """Return a token for every right on these repositories (and the catalog)."""
        key = name, tuple(sorted(public))
        if fresh or key not in self.held:
            scopes = [CATALOG, *(f"repository:{one}:{EVERYTHING}" for one in public)]
            query = urlencode([("scope", scope) for scope in scopes])
            client = Client(session, worker.url)
            answer = await client.raw("GET", f"/token?{query}", self.basic(name))
            text = str(json.loads(answer.expect(200).body)["token"])
            rights = {one: CALLERS[name].rights(one, public=it) for one, it in public.items()}
            self.held[key] = Held(text, rights)
        return self.held[key]

"""Issuers of ID tokens: whom an administrator allows, and forbids again."""

from collections.abc import AsyncIterator
from typing import Final

from treescale.auth.id_tokens import CLAIM_CHARACTERS_MAX, parse_jwks
from treescale.errors import AddressForbidden, RequestInvalid
from treescale.metadata.database import Database
from treescale.metadata.identity.issuers import Issuers
from treescale.metadata.identity.records import Issuer
from treescale.outbound.urls import parse_url

JWKS_CHARACTERS_MAX: Final = 64 * 1024
PAGE_SIZE: Final = 500


class IssuerService:
    """Allows and forbids issuers."""

    def __init__(self, database: Database) -> None:
        self._issuers = Issuers(database.connections)

    async def add(self, issuer: str, jwks: str | None = None, *, actor: str) -> Issuer:
        """Believe an issuer's ID tokens, by the keys of this JWK set or by those it publishes.

        Of one that is there the keys are replaced. Raises RequestInvalid, IssuerKeysInvalid.
        """
        check_issuer(issuer)
        if jwks is not None:
            if len(jwks) > JWKS_CHARACTERS_MAX:
                raise RequestInvalid(f"a JWK set has at most {JWKS_CHARACTERS_MAX} characters")
            parse_jwks(jwks.encode())
        await self._issuers.add(issuer, jwks, actor=actor)
        return await self._issuers.get(issuer)

    async def page(self, after: str, limit: int) -> list[Issuer]:
        """Return a page of them, by URL."""
        return await self._issuers.page(after, limit)

    async def each(self) -> AsyncIterator[Issuer]:
        """Yield all of them, by URL."""
        after = ""
        while page := await self._issuers.page(after, PAGE_SIZE):
            for one in page:
                yield one
            after = page[-1].issuer

    async def remove(self, issuer: str, *, actor: str) -> int:
        """Believe it no more; return how many robots had a rule for it, which is gone.

        Raises IssuerUnknown.
        """
        return await self._issuers.remove(issuer, actor=actor)


def check_issuer(issuer: str) -> None:
    """Raise RequestInvalid for what can be no issuer (OpenID Connect Core 1.0, 2: `iss`)."""
    try:
        url = parse_url(issuer)
    except AddressForbidden as error:
        raise RequestInvalid(f"an issuer is a URL as its ID tokens have it: {error}") from None
    if url.scheme != "https" or url.query_string or "#" in issuer:
        raise RequestInvalid(
            "an issuer begins with https:// and has no query: its keys must come from nobody else"
        )
    if len(issuer) > CLAIM_CHARACTERS_MAX:
        raise RequestInvalid(f"an issuer has at most {CLAIM_CHARACTERS_MAX} characters")

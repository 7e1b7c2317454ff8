"""`/purges`: what was deleted is taken away for good, by whoever maintains the repository."""

from typing import Final

import msgspec

from treescale.auth.policy import Standing, may
from treescale.auth.roles import NO_MEMBER, Permission
from treescale.clock import Clock
from treescale.console.route import Answered, Asked
from treescale.errors import Forbidden, NameInvalid, NameUnknown
from treescale.maintenance.collection.purge_request import Patience, plan_purge, take_away
from treescale.metadata.database import Database
from treescale.oci.image_reference import parse_reference
from treescale.oci.names import namespace_of

IN_USE_SECONDS_MAX: Final = 10.0
"""So long it is waited for pushes that use what is to go."""


class NewPurge(msgspec.Struct, forbid_unknown_fields=True):
    """What is to go: `acme/app`, `acme/app:1` or `acme/app@sha256:…`, as it was called."""

    reference: str


class Purged(msgspec.Struct):
    """What is gone: its rows, and within seconds its bytes on every store that is there."""

    reference: str
    images: int
    blobs: int
    chunks: int
    bytes: int
    """Of these chunks, each once."""
    shared: int
    """Chunks that stay: something else has them."""
    live: list[str]
    """Some images that belong to it, are not deleted, and stay."""


class PurgeDesk:
    """What answers for purges."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def purge(self, asked: Asked) -> Answered:
        """Take away what was deleted, and cannot be restored any more from then on."""
        body: NewPurge = asked.body
        try:
            wanted = parse_reference(body.reference)
        except NameInvalid as error:  # also a namespace's, which `docker push` is told otherwise
            raise NameInvalid(str(error)) from None
        _check(asked, wanted.name)
        planned = await plan_purge(self._database, wanted)
        patience = Patience(self._clock, IN_USE_SECONDS_MAX)
        await take_away(self._database, wanted, planned, patience, actor=asked.principal.user)
        plan, begun = planned
        return Answered(
            Purged(
                reference=str(wanted),
                images=len(plan.manifests),
                blobs=plan.blobs,
                chunks=plan.chunks + sum(one.chunks for one in begun),
                bytes=plan.size + sum(one.size for one in begun),
                shared=plan.shared,
                live=list(plan.live),
            )
        )


def _check(asked: Asked, name: str) -> None:
    """Raise NameUnknown for a stranger, Forbidden for a member without the right."""
    namespace = namespace_of(name)
    grants = asked.held.get(namespace, NO_MEMBER).grants
    standing = Standing(grants=grants, is_administrator=asked.is_administrator)
    if may(asked.principal, name, Permission.PURGE, standing):
        return
    if not grants and namespace != asked.principal.user:
        raise NameUnknown(f"nothing was deleted at {name} that you may see")
    raise Forbidden(f"a maintainer of {name} may do this")

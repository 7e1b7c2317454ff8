"""`/copies` and `/moves`: an image, or a repository, under another name; no byte is moved."""

import msgspec

from treescale.auth.roles import Permission
from treescale.clock import Clock
from treescale.console.content.rights import (
    check_delete,
    check_pull,
    check_push,
    image_name,
    may_in,
    repository_name,
)
from treescale.console.route import Answered, Asked
from treescale.errors import FieldInvalid, Forbidden, NamespaceUnknown
from treescale.metadata.database import Database
from treescale.oci.names import check_namespace, namespace_of
from treescale.registry.naming.copies import CopyService
from treescale.registry.naming.moves import MoveService


class NewCopy(msgspec.Struct, forbid_unknown_fields=True):
    """What to copy, and as what: `acme/app:rc`, or a digest, to `prod/app:1`."""

    source: str
    target: str
    """Without a tag it has that of the source."""


class CopyMade(msgspec.Struct):
    """What was copied, with its parts and all that is said of it."""

    source: str
    target: str
    digest: str
    manifests: int
    previous_digest: str | None
    """What the tag pointed at before."""


class NewMove(msgspec.Struct, forbid_unknown_fields=True):
    """Two repositories; or two namespaces, for all of one."""

    old: str
    new: str
    force: bool = False
    """Also with tags that a rule has stay, and with tags that rules have go there."""


class MoveMade(msgspec.Struct):
    """How everything is called now that was moved."""

    old: str
    new: str
    repositories: list[str]


class NamingDesk:
    """What answers for copies and moves."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._copies = CopyService(database, clock)
        self._moves = MoveService(database)

    async def copy(self, asked: Asked) -> Answered:
        """Copy an image: for who may pull the one and push the other."""
        wanted: NewCopy = asked.body
        source, target = image_name(wanted.source), image_name(wanted.target)
        reference = source.tag or source.digest
        if reference is None:
            raise FieldInvalid("source: say which image, NAME:TAG or NAME@DIGEST", "source")
        tag = target.tag or (None if target.digest else source.tag)
        if tag is None:
            raise FieldInvalid("target: say under which tag, NAME:TAG", "target")
        await check_pull(asked, self._database, source.name)
        await check_push(asked, self._database, target.name)
        await self._database.organisations.check_owned(namespace_of(target.name))
        done = await self._copies.copy(
            source.name, reference, target.name, tag, actor=asked.principal.user
        )
        return Answered(
            CopyMade(
                str(source),
                f"{target.name}:{tag}",
                done.digest,
                done.manifests,
                done.previous_digest,
            )
        )

    async def move(self, asked: Asked) -> Answered:
        """Move a repository, or all of a namespace."""
        wanted: NewMove = asked.body
        actor = asked.principal.user
        if "/" not in wanted.old.removesuffix("/"):
            old = check_namespace(wanted.old.removesuffix("/"))
            new = check_namespace(wanted.new.removesuffix("/"))
            self._check_namespaces(asked, old, new)
            moved = await self._moves.namespace(old, new, actor=actor, force=wanted.force)
            return Answered(MoveMade(old, new, moved))
        old, new = repository_name(wanted.old), repository_name(wanted.new)
        if not asked.is_administrator:
            await check_delete(asked, self._database, old)
            await check_push(asked, self._database, new)
        await self._moves.repository(old, new, actor=actor, force=wanted.force)
        return Answered(MoveMade(old, new, [new]))

    def _check_namespaces(self, asked: Asked, old: str, new: str) -> None:
        """Raise unless the caller owns both: nobody gives away, or takes in, what is not theirs."""
        for name in (old, new):
            if may_in(asked, name, Permission.REMOVAL):
                continue
            if name in asked.held:
                raise Forbidden(f"an owner of {name} may do this")
            raise NamespaceUnknown(f"no organisation {name} in which you have a role")

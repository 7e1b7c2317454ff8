"""`/descriptions`: what a repository or a namespace says of itself, in markdown."""

from typing import Final

import msgspec

from treescale.auth.policy import may, permitted
from treescale.auth.roles import Permission
from treescale.auth.scopes import Action
from treescale.console.content.rights import may_in, repository_name, standing_in, unseen
from treescale.console.etags import etag_headers, if_match
from treescale.console.route import Answered, Asked, no_namespace
from treescale.errors import Forbidden, NamespaceUnknown, NameUnknown
from treescale.metadata.database import Database
from treescale.metadata.naming.descriptions import Descriptions
from treescale.registry.naming.descriptions import DESCRIPTION_BYTES_MAX, parse_description

BODY_BYTES_MAX: Final = 4 * DESCRIPTION_BYTES_MAX
"""As JSON that escapes all that is not ASCII."""


class Description(msgspec.Struct, forbid_unknown_fields=True):
    """Markdown, at most 25,000 bytes; empty for none."""

    description: str


class DescriptionDesk:
    """What answers for descriptions: to who sees what is described, and to who maintains it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._descriptions = Descriptions(database.connections)

    async def show(self, asked: Asked) -> Answered:
        """Show one, with its ETag."""
        if "/" in asked.name:
            await self._check_seen(asked, repository_name(asked.name))
            text = await self._descriptions.of_repository(asked.name)
        else:
            await self._check_namespace(asked)
            text = await self._descriptions.of_namespace(asked.name)
        found = Description(text)
        return Answered(found, etag_headers(found))

    async def put(self, asked: Asked) -> Answered:
        """Write another one."""
        body: Description = asked.body
        await self.show(asked)  # who does not see it is told so
        await self._check_maintained(asked)
        wanted, actor = Description(parse_description(body.description)), asked.principal.user
        if "/" in asked.name:
            describe = self._descriptions.describe_repository
        else:
            describe = self._descriptions.describe_namespace
        check = if_match(asked, Description)
        await describe(asked.name, wanted.description, actor=actor, check=check)
        return Answered(wanted, etag_headers(wanted))

    async def _check_seen(self, asked: Asked, name: str) -> None:
        """Raise NameUnknown for what is not there, or not for the caller."""
        standing = await standing_in(asked, self._database, name)
        may_pull = Action.PULL in permitted(asked.principal.person, name, standing)
        if not (may_pull or asked.is_administrator):
            raise unseen(asked, name)
        try:
            await self._database.repositories.get(name)
        except NameUnknown:
            raise unseen(asked, name) from None

    async def _check_namespace(self, asked: Asked) -> None:
        """Raise NamespaceUnknown likewise."""
        name = asked.name
        none = no_namespace(asked, name)
        if not (asked.is_administrator or name in asked.held or name == asked.principal.user):
            raise none
        try:
            await self._database.organisations.get(name)
        except NamespaceUnknown:
            raise none from None

    async def _check_maintained(self, asked: Asked) -> None:
        if "/" in asked.name:
            standing = await standing_in(asked, self._database, asked.name)
            its = may(asked.principal, asked.name, Permission.DESCRIPTION, standing)
        else:
            its = may_in(asked, asked.name, Permission.DESCRIPTION)
        if not its:
            raise Forbidden(f"a maintainer of {asked.name} may do this")

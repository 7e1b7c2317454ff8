"""Repositories that change their names, one or all of a namespace. Rows only."""

from collections.abc import Iterable
from typing import Final

from treescale.errors import RequestInvalid, UserExists
from treescale.metadata.database import Database
from treescale.metadata.naming.moves import Moves
from treescale.oci.names import check_namespace, check_repository
from treescale.registry.rules.moving import check_may_move

PAGE_SIZE: Final = 500
REPOSITORIES_MAX: Final = 100_000
"""Of one namespace, moved at once."""


class MoveService:
    """Moves repositories. Whether the caller may is asked of `auth.policy` by whoever calls."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._moves = Moves(database)

    async def repository(self, old: str, new: str, *, actor: str, force: bool = False) -> None:
        """Give a repository another name; raises NameUnknown, UserExists, NamespaceUnknown.

        Without `force` TagImmutable when any of its tags has to stay, and PlanChanged when rules
        that are in force would have tags go where it is to be, and not where it is.
        """
        check_repository(old)
        namespace, _, _ = check_repository(new).partition("/")
        await self._database.organisations.check_owned(namespace)
        if not force:
            await check_may_move(self._database, old, new)
        await self._moves.move(old, new, actor=actor, force=force)

    async def namespace(self, old: str, new: str, *, actor: str, force: bool = False) -> list[str]:
        """Give all repositories of a namespace to another one; return their new names.

        Nothing is moved when one of the names is taken there: raises UserExists; nor, without
        `force`, when rules have the tags of one stay, or go. What is pushed meanwhile may stay, and
        from one on that does not fit all that follow; asked again they follow.
        """
        check_namespace(old)
        await self._database.organisations.check_owned(check_namespace(new))
        if old == new:
            raise RequestInvalid(f"all of {old} is there already")
        names = await self._names(old)
        found = await self._named_there(f"{new}/{name.partition('/')[2]}" for name in names)
        if found:
            raise UserExists(
                f"there is a repository {found[0]} already: move, or delete, that one first",
                known=found[0],
            )
        moves = [(name, f"{new}/{name.partition('/')[2]}") for name in names]
        for name, target in () if force else moves:
            await check_may_move(self._database, name, target)
        for name, target in moves:
            await self._moves.move(name, target, actor=actor, force=force)
        return [target for _, target in moves]

    async def _names(self, namespace: str) -> list[str]:
        begin = f"{namespace}/"
        found: list[str] = []
        after = begin
        while page := await self._database.repositories.list_all(after, PAGE_SIZE):
            found += [one.name for one in page if one.name.startswith(begin)]
            after = page[-1].name
            if not after.startswith(begin):
                break
            if len(found) > REPOSITORIES_MAX:
                raise RequestInvalid(
                    f"{namespace} has more than {REPOSITORIES_MAX:,} repositories: move them singly"
                )
        return found

    async def _named_there(self, names: Iterable[str]) -> list[str]:
        wanted, found = list(names), list[str]()
        for start in range(0, len(wanted), PAGE_SIZE):
            there = await self._database.repositories.named(wanted[start : start + PAGE_SIZE])
            found += sorted(there)
        return found

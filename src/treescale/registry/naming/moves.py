"""Repositories that change their names, one or all of a namespace. Rows only."""

from collections.abc import Iterable
from typing import Final

from treescale.errors import DatabaseUnavailable, RequestInvalid, UserExists
from treescale.metadata.database import Database
from treescale.metadata.naming.moves import Moves
from treescale.oci.names import check_namespace, check_repository
from treescale.registry.rules.moving import check_may_move

PAGE_SIZE: Final = 500
REPOSITORIES_MAX: Final = 100_000
"""Of one namespace, moved at once."""
GIVEN_MAX: Final = 500
"""Moved in one transaction: about a second, in which nothing else is written on SQLite."""
ATTEMPTS_MAX: Final = 5


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
        check_repository(new)
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

    async def give_and_remove(self, user: str, heir: str, *, actor: str) -> None:
        """Give a user's repositories to another namespace, and remove the account: all, or nothing.

        Raises as `namespace` does and, when the account cannot go, LastOwner, LastAdministrator;
        RequestInvalid for so many repositories that everybody's writes would wait for it.
        """
        check_namespace(user)
        await self._database.organisations.check_owned(check_namespace(heir))
        if user == heir:
            raise RequestInvalid(f"all of {user} is there already")
        for _ in range(ATTEMPTS_MAX):
            names = await self._names(user)
            if len(names) > GIVEN_MAX:
                raise RequestInvalid(
                    f"{user} has more than {GIVEN_MAX} repositories: move them first "
                    f"(`treescale repo move {user}/ {heir}/`), then remove the account"
                )
            for name in names:
                await check_may_move(self._database, name, f"{heir}/{name.partition('/')[2]}")
            if await self._moves.give_and_remove(user, names, heir, actor=actor):
                return
        raise DatabaseUnavailable(f"repositories of {user} come and go meanwhile; try again")

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

"""`/users`: accounts, for administrators; one's own password, for everybody.

Who sets a password makes a secret, so that it takes a password: see `check_fresh`.
"""

from datetime import UTC, datetime

import msgspec

from treescale.console.pages import Paging, page_of
from treescale.console.route import Answered, Asked, check_fresh
from treescale.metadata.accounts import unknown_user
from treescale.metadata.database import Database
from treescale.metadata.records import User
from treescale.registry.accounts import PasswordHashing, accounts_of, check_unclaimed
from treescale.registry.naming.moves import MoveService


class UserRow(msgspec.Struct):
    """An account; times are of UTC."""

    name: str
    admin: bool
    created: datetime
    password: bool
    """Whether there is a password to log in with."""
    suspended: datetime | None
    """Since when nothing of it counts."""


class UserPage(msgspec.Struct):
    """Some of them, by name; `next` is what `after` has to be for those that follow."""

    users: list[UserRow]
    next: str | None


class NewUser(msgspec.Struct, forbid_unknown_fields=True):
    """What an account is to be."""

    name: str
    password: str
    admin: bool = False
    adopt: bool = False
    """Whether it owns what an earlier user of this name left behind."""


class NewPassword(msgspec.Struct, forbid_unknown_fields=True):
    """The password from now on."""

    password: str


class UserDesk:
    """What answers for accounts."""

    def __init__(self, database: Database, passwords: PasswordHashing) -> None:
        self._database = database
        self._passwords = passwords
        self._moves = MoveService(database)

    async def list(self, asked: Asked) -> Answered:
        """List the accounts."""
        paging = Paging.of(asked)
        found = await self._database.users.list(paging.after, paging.limit + 1)
        shown, last, headers = page_of("/users", paging, found, lambda one: one.name)
        return Answered(UserPage([user_row(one) for one in shown], last), headers)

    async def add(self, asked: Asked) -> Answered:
        """Make one."""
        check_fresh(asked)
        wanted: NewUser = asked.body
        if not wanted.adopt:
            await check_unclaimed(self._database, wanted.name)
        accounts = await accounts_of(self._database, self._passwords)
        made = await accounts.add_user(
            wanted.name, wanted.password, admin=wanted.admin, actor=asked.principal.user
        )
        return Answered(user_row(made))

    async def show(self, asked: Asked) -> Answered:
        """Show one: to its user, and to administrators."""
        return Answered(user_row(await self._seen(asked)))

    async def remove(self, asked: Asked) -> Answered:
        """Remove one with its access tokens, and say what it was.

        Its repositories stay, unless somebody is named who gets them.
        """
        found = await self._seen(asked)
        heir = asked.query.get("give_to")
        if heir is not None:
            await self._moves.give_and_remove(found.name, heir, actor=asked.principal.user)
        else:
            accounts = await accounts_of(self._database, self._passwords)
            await accounts.remove_user(found.name, actor=asked.principal.user)
        return Answered(user_row(found))

    async def set_password(self, asked: Asked) -> Answered:
        """Set another password: one's own, or for administrators anybody's."""
        check_fresh(asked)
        wanted: NewPassword = asked.body
        found = await self._seen(asked)
        accounts = await accounts_of(self._database, self._passwords)
        await accounts.set_password(found.name, wanted.password, actor=asked.principal.user)
        return Answered(user_row(found))

    async def _seen(self, asked: Asked) -> User:
        """Return the account of the path; to others than administrators all but theirs is none."""
        name = asked.parameters["user"]
        if not (asked.is_administrator or name == asked.principal.user):
            raise unknown_user(name)
        return await self._database.users.get(name)


def user_row(one: User) -> UserRow:
    """Return what is told of an account."""
    return UserRow(
        name=one.name,
        admin=one.admin,
        created=datetime.fromtimestamp(int(one.created), UTC),
        password=one.has_password,
        suspended=None
        if one.suspended is None
        else datetime.fromtimestamp(int(one.suspended), UTC),
    )

"""What the caller may do to a repository, and what is said when it may not be done.

What somebody may not see is not there, in the same words as what is not. An access token made with
`--allow api` stands here for its user: the names it was made for are those of the registry.
"""

from treescale.auth.policy import Standing, may, permitted
from treescale.auth.roles import NO_MEMBER, Permission, Visibility
from treescale.auth.scopes import Action
from treescale.console.route import Asked, no_repository
from treescale.errors import CredentialsInvalid, Forbidden, NameInvalid, NameUnknown
from treescale.metadata.database import Database
from treescale.metadata.records import Repository
from treescale.oci.image_reference import ImageReference, parse_reference
from treescale.oci.names import check_repository, namespace_of


def repository_name(text: str) -> str:
    """Return the name of a repository; raises NameInvalid, also for a namespace's."""
    try:
        return check_repository(text)
    except NameInvalid as error:  # of a namespace `docker push` is told otherwise
        raise NameInvalid(str(error)) from None


def image_name(text: str) -> ImageReference:
    """Return what NAME, NAME:TAG or NAME@DIGEST says; raises NameInvalid and the like."""
    try:
        return parse_reference(text)
    except NameInvalid as error:  # likewise
        raise NameInvalid(str(error)) from None


def unseen(asked: Asked, name: str) -> NameUnknown | CredentialsInvalid:
    """Return the error for what is not there, or not for the caller, whoever that may be."""
    if asked.principal.anonymous:
        return CredentialsInvalid("log in first: without that only what is public is there")
    return no_repository(asked, name)


def standing_of(asked: Asked, repository: Repository) -> Standing:
    """Return what there is to know of the caller in a repository that was read."""
    grants = asked.held.get(namespace_of(repository.name), NO_MEMBER).grants
    return Standing(Visibility(repository.visibility), grants, asked.is_administrator)


async def standing_in(asked: Asked, database: Database, name: str) -> Standing:
    """Return what there is to know of the caller in a repository; an absent one is private."""
    try:
        found = await database.repositories.get(name)
    except NameUnknown:
        found = Repository(name, public=False, created=0.0)
    return standing_of(asked, found)


async def check_pull(asked: Asked, database: Database, name: str) -> None:
    """Raise NameUnknown unless the caller may pull from it."""
    standing = await standing_in(asked, database, name)
    if Action.PULL not in permitted(asked.principal.person, name, standing):
        raise unseen(asked, name)


async def check_push(asked: Asked, database: Database, name: str) -> None:
    """Raise Forbidden unless the caller may push to it, whether or not it is there."""
    standing = await standing_in(asked, database, name)
    if Action.PUSH not in permitted(asked.principal.person, name, standing):
        raise Forbidden(f"you may not push to {name}: a maintainer of it can let you")


async def check_delete(asked: Asked, database: Database, name: str) -> None:
    """Raise NameUnknown for what the caller does not see, Forbidden for what only others delete."""
    standing = await standing_in(asked, database, name)
    rights = permitted(asked.principal.person, name, standing)
    if Action.DELETE in rights:
        return
    if Action.PULL not in rights:
        raise unseen(asked, name)
    raise Forbidden(f"a maintainer of {name} may do this")


def is_known(asked: Asked, name: str) -> bool:
    """Say whether the caller is no stranger in a repository: members are told who did what.

    Others see what is open to all, or to whoever is signed in, and nobody's name (`events.rights`).
    """
    grants = asked.held.get(namespace_of(name), NO_MEMBER).grants
    standing = Standing(grants=grants, is_administrator=asked.is_administrator)
    rights = permitted(asked.principal.person, name, standing)
    return Action.PULL in rights or asked.is_administrator


def may_in(asked: Asked, namespace: str, permission: Permission) -> bool:
    """Say whether the caller has a permission in a namespace."""
    grants = asked.held.get(namespace, NO_MEMBER).grants
    standing = Standing(grants=grants, is_administrator=asked.is_administrator)
    return may(asked.principal, namespace, permission, standing)

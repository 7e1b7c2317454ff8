"""Whom a provider of sign-on lets in, and as what. Pure."""

from typing import Final

import msgspec

AUTO: Final = "auto"
INVITE: Final = "invite"


class GroupRole(msgspec.Struct, frozen=True):
    """A role in an organisation, for whoever is in a group of the provider."""

    group: str
    organisation: str
    role: str
    namespace_id: int = 0
    """Of the organisation when the provider was added: one that gets the name later is another."""


class Terms(msgspec.Struct, frozen=True):
    """Whom a provider lets in, and as what."""

    domains: tuple[str, ...] = ()
    """Of e-mail addresses that the provider has verified; any without one."""
    groups_claim: str = "groups"
    groups: tuple[GroupRole, ...] = ()
    required_groups: tuple[str, ...] = ()
    """Whoever is in none of them is let in no more."""
    create: str = AUTO
    """Whether who comes for the first time gets an account: `auto`, or `invite`."""
    scopes: tuple[str, ...] = ("openid", "profile", "email")

"""What follows from what a provider says of somebody, by the terms it was added with. Pure.

A name that a provider tells is a wish: it is given to a new account when it is free, and says
nothing of whose an account is. An e-mail address counts for its domain alone, and only when the
provider has verified it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from treescale.auth.roles import Role
from treescale.errors import NameInvalid
from treescale.metadata.identity.terms import GroupRole, Terms
from treescale.oci.names import NAMESPACE_CHARACTERS_MAX, check_new_namespace

GROUPS_MAX: Final = 1000
EMAIL_CHARACTERS_MAX: Final = 254
_ODD: Final = re.compile(r"[^a-z0-9]+")
_RANKS: Final = {role.value: rank for rank, role in enumerate(Role)}
_EMAIL: Final = "email"
_VERIFIED: Final = "email_verified"
_NAMES: Final = ("preferred_username", "nickname")


@dataclass(frozen=True, slots=True)
class Judged:
    """What a provider's word comes to."""

    allowed: bool
    roles: Mapping[str, GroupRole]
    """By organisation the highest of what their groups give."""
    name: str
    """What a new account would be called; "" when nothing fits."""
    email: str


def judge(terms: Terms, claims: Mapping[str, object]) -> Judged:
    """Return what follows from these claims."""
    groups = groups_of(terms, claims)
    has_group = not terms.required_groups or bool(groups & {*terms.required_groups})
    roles: dict[str, GroupRole] = {}
    for one in terms.groups:
        if one.group in groups:
            known = roles.get(one.organisation)
            if known is None or _RANKS.get(one.role, -1) > _RANKS.get(known.role, -1):
                roles[one.organisation] = one
    allowed = has_group and _is_of_domain(terms, claims)
    return Judged(allowed, roles, _name(claims), _email(claims))


def groups_of(terms: Terms, claims: Mapping[str, object]) -> frozenset[str]:
    """Return the groups that a provider says somebody is in."""
    found = claims.get(terms.groups_claim)
    if isinstance(found, str):
        return frozenset({found})
    if not isinstance(found, list):
        return frozenset()
    return frozenset(one for one in found[:GROUPS_MAX] if isinstance(one, str))


def lacks(terms: Terms, claims: Mapping[str, object]) -> bool:
    """Return whether something is missing that the terms, or a new account, go by."""
    wanted = [_EMAIL, _NAMES[0]]
    if terms.groups or terms.required_groups:
        wanted.append(terms.groups_claim)
    return any(name not in claims for name in wanted)


def _is_of_domain(terms: Terms, claims: Mapping[str, object]) -> bool:
    if not terms.domains:
        return True
    verified = claims.get(_VERIFIED)
    domain = _email(claims).rpartition("@")[2].lower()
    return verified is True and domain in {one.lower() for one in terms.domains}


def _email(claims: Mapping[str, object]) -> str:
    found = claims.get(_EMAIL)
    if not isinstance(found, str) or len(found) > EMAIL_CHARACTERS_MAX:
        return ""
    return found if found.isprintable() and found.count("@") == 1 else ""


def _name(claims: Mapping[str, object]) -> str:
    told = [claims.get(name) for name in (*_NAMES, _EMAIL)]
    for one in told:
        if isinstance(one, str):
            local = one.partition("@")[0].lower()
            name = _ODD.sub("-", local).strip("-")[:NAMESPACE_CHARACTERS_MAX].strip("-")
            try:
                return check_new_namespace(name)
            except NameInvalid:
                continue
    return ""

"""Who may do what to which repository. Pure: the facts come in as arguments."""

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

from treescale.auth.roles import ALLOWS, Allowed, Grant, Permission, Role, Visibility
from treescale.auth.scopes import ALL_ACTIONS, Action, TokenScope
from treescale.oci.names import namespace_of


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking. `user` is "" for the anonymous; `token_id` names the access token, if any.

    `allow`, `repository_glob` and `expires` are the access token's limits; a password has none.
    Nothing derived from it outlives `expires`. `generation` is the cluster's when the credential
    was compared with the database, in that very statement: a later change of the user, or of the
    access token, has a higher number and voids everything derived from it, whatever a cache may
    have said since. None is of version 0.1.0, which goes by `proven`, the time of the comparison.
    `scopes` are those of an access token that is not for the registry. Who hears of a principal
    from a server that knows none takes them for none, so that nothing is opened.
    `is_operator` is whoever works on the database itself, by a command there: no credential proves
    that, and nothing that comes by a wire says it.
    """

    user: str
    token_id: str = ""
    allow: frozenset[Action] = ALL_ACTIONS
    repository_glob: str = "*"
    expires: float | None = None
    proven: float = field(default=0.0, compare=False)
    generation: int | None = field(default=None, compare=False)
    scopes: frozenset[TokenScope] = frozenset()
    is_operator: bool = False

    @property
    def person(self) -> "Principal":
        """Return whose credential this is, without what the credential is limited to."""
        return Principal(self.user, is_operator=self.is_operator)

    @property
    def anonymous(self) -> bool:
        """Return whether nobody has logged in."""
        return not self.user

    @property
    def is_for_registry(self) -> bool:
        """Return whether the registry takes this credential: not an access token with scopes."""
        return not self.scopes

    def opens(self, scope: TokenScope) -> bool:
        """Return whether this credential opens what needs the scope: any password does.

        Whether its user may see or do what lies there is another question.
        """
        return bool(self.user) and (not self.token_id or scope in self.scopes)

    def is_expired(self, now: float) -> bool:
        """Return whether the time of the principal's credential is over."""
        return self.expires is not None and self.expires <= now

    @property
    def subjects(self) -> tuple[str, ...]:
        """Return whose changes void what is derived from this; nobody's for the anonymous.

        `member` is for what a user was granted. A login, and what it is kept by, outlives that.
        """
        user = (f"user:{self.user}", f"member:{self.user}") if self.user else ()
        return (*user, *self.login_subjects) if self.token_id else user

    @property
    def login_subjects(self) -> tuple[str, ...]:
        """Return whose changes end a login that was made with this credential.

        Access tokens are credentials of their own: a new password leaves them.
        """
        if self.token_id:
            return (f"token:{self.token_id}",)
        return (f"user:{self.user}",) if self.user else ()

    def bound(self, until: float) -> float:
        """Return `until`, or when the principal's credential ends if that is sooner."""
        return until if self.expires is None else min(until, self.expires)


ANONYMOUS: Final = Principal("", allow=frozenset({Action.PULL}))


def operator(actor: str) -> Principal:
    """Return whoever works on the database itself, as `actor` in the log of events."""
    return Principal(actor, is_operator=True)


@dataclass(frozen=True, slots=True)
class Standing:
    """What there is to know of a principal and what is asked about, beside their names.

    `grants` are those that the user holds in the namespace, `closed` says that the cluster lets
    nobody pull who has not logged in.
    """

    visibility: Visibility = Visibility.PRIVATE
    grants: tuple[Grant, ...] = ()
    is_administrator: bool = False
    closed: bool = False


NO_STANDING: Final = Standing()
_PERMISSIONS: Final[frozenset[Allowed]] = frozenset(Permission)
_EVERYTHING: Final[frozenset[Allowed]] = _PERMISSIONS | ALL_ACTIONS


def rights(principal: Principal, name: str, standing: Standing = NO_STANDING) -> frozenset[Allowed]:
    """Return everything `principal` may do to `name`, a repository; without a slash a namespace.

    A user is the owner of the namespace of that name; elsewhere grants say what she may. Public
    repositories anybody may pull from, internal ones whoever is signed in. Administrators have all
    permissions everywhere, and no right on the content of a repository: that they have to be
    granted, as anybody. An access token only ever narrows that, except that what anybody may pull,
    its bearer may pull too. The operator, who can read and write it all anyway, may do everything.
    """
    if principal.is_operator:
        return _EVERYTHING if "/" in name else _PERMISSIONS
    is_open = standing.visibility is Visibility.PUBLIC and not standing.closed
    anybody = frozenset({Action.PULL}) if is_open and "/" in name else frozenset[Action]()
    if principal.anonymous:
        return anybody
    held = _held(principal.user, name, standing)
    return _narrowed(principal, name, held) | anybody


def permitted(
    principal: Principal, repository: str, standing: Standing = NO_STANDING
) -> frozenset[Action]:
    """Return which of the actions on a repository's content `rights` has."""
    found = rights(principal, repository, standing)
    return frozenset(action for action in Action if action in found)


def may(
    principal: Principal,
    name: str,
    permission: Permission,
    standing: Standing = NO_STANDING,
) -> bool:
    """Return whether `rights` has the permission."""
    return permission in rights(principal, name, standing)


def _held(user: str, name: str, standing: Standing) -> frozenset[Allowed]:
    """Return what a user may do by a password, which narrows nothing."""
    held: frozenset[Allowed] = frozenset()
    if namespace_of(name) == user:
        held |= ALLOWS[Role.OWNER]
    for grant in standing.grants:
        if _is_of(grant, name):
            held |= ALLOWS[grant.role]
    if standing.is_administrator:
        held |= _PERMISSIONS
    if "/" in name and standing.visibility is not Visibility.PRIVATE:
        held |= {Action.PULL}
    return held


def _is_of(grant: Grant, name: str) -> bool:
    return grant.is_for_all or ("/" in name and fnmatchcase(name, grant.repository))


def _narrowed(principal: Principal, name: str, held: frozenset[Allowed]) -> frozenset[Allowed]:
    """Return what of it the credential opens."""
    kept = held & _PERMISSIONS if principal.opens(TokenScope.API) else frozenset[Allowed]()
    if "/" in name and fnmatchcase(name, principal.repository_glob):
        kept |= held & principal.allow
    return kept

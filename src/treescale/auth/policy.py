"""Who may do what to which repository. Pure: the facts come in as arguments."""

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

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
    """

    user: str
    token_id: str = ""
    allow: frozenset[Action] = ALL_ACTIONS
    repository_glob: str = "*"
    expires: float | None = None
    proven: float = field(default=0.0, compare=False)
    generation: int | None = field(default=None, compare=False)
    scopes: frozenset[TokenScope] = frozenset()

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
        """Return whose changes void what is derived from this; nobody's for the anonymous."""
        user = (f"user:{self.user}",) if self.user else ()
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


def permitted(principal: Principal, repository: str, *, public: bool) -> frozenset[Action]:
    """Return everything `principal` may do to `repository`.

    A namespace is its user's alone: all rights there, none elsewhere, but for pulling from public
    repositories. An access token only ever narrows that, except that what anybody may pull, its
    bearer may pull too.
    """
    anybody = frozenset({Action.PULL}) if public else frozenset[Action]()
    if principal.anonymous or namespace_of(repository) != principal.user:
        return anybody
    if not fnmatchcase(repository, principal.repository_glob):
        return anybody
    return principal.allow | anybody

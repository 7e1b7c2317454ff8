"""Who may do what to which repository. Pure: the facts come in as arguments."""

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

from treescale.auth.scopes import ALL_ACTIONS, Action
from treescale.oci.names import namespace_of


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking. `user` is "" for the anonymous; `token_id` names the access token, if any.

    `allow` and `repository_glob` are the access token's limits; a password has none. `proven` is
    when the credential was last compared with the database: what is revoked later than that voids
    everything derived from it, whatever a cache may have said since.
    """

    user: str
    token_id: str = ""
    allow: frozenset[Action] = ALL_ACTIONS
    repository_glob: str = "*"
    proven: float = field(default=0.0, compare=False)

    @property
    def anonymous(self) -> bool:
        """Return whether nobody has logged in."""
        return not self.user


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

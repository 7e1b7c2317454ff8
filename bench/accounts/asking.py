"""Who asks for what among many accounts: each time somebody else, as long as there is one."""

from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Final

from bench.accounts.filling import (
    TOKENS_OF_USER,
    Population,
    robot_secret,
    session_secret,
    token_secret,
    user_name,
    user_of,
)
from treescale.http.sessions.cookies import SESSION

ASKED: Final = 1000
"""Of what is asked for most, in a round: with one round that is not counted, as many as there are
tokens of a kind among few."""
LISTED: Final = 500
PAGE: Final = 100
_STEP: Final = 7919
"""Has no divisor in common with a count of users or robots: so all of them come, in no order."""
_ADMIN: Final = "admin"

Asked = tuple[str, str, bytes]
"""Path, headers, and what the answer has to contain."""
Asking = Callable[[Population, int], Asked]
"""By how many have asked before."""


def token(of: Population, number: int) -> Asked:
    """Ask `/token` for a repository of an organisation, with this access token."""
    user = user_of(number)
    scope = f"repository:{of.organisation_of(user)}/app:pull,push"
    return f"/token?scope={scope}", _of_token(number), b'app:pull,push"'


def tags(organisation: str) -> str:
    """Return the path of a list of tags."""
    return f"/v2/{organisation}/app/tags/list"


def _token_by(*digits: int) -> Asking:
    return lambda of, number: token(of, _another(of, number, digits))


def _robot(of: Population, number: int) -> Asked:
    robot = (number * _STEP % of.robots) | 1
    scope = f"repository:{of.robot(robot).partition('+')[0]}/app:pull,push"
    headers = _basic(of.robot(robot), robot_secret(robot))
    return f"/token?scope={scope}", headers, b'app:pull,push"'


def _tags(of: Population, number: int) -> Asked:
    one = _another(of, number, (5, 7))
    organisation = of.organisation_of(user_of(one))
    return tags(organisation), _of_token(one), f'"{organisation}/app"'.encode()


def _page(of: Population, number: int) -> Asked:
    user = number * _STEP % of.users
    cookie = f"Cookie: {SESSION}={session_secret(user)}\r\n"
    return "/-/account", cookie, user_name(user).encode()


def _organisations_of_one(of: Population, number: int) -> Asked:
    one = _another(of, number, (TOKENS_OF_USER - 1,))
    return "/api/v1/organisations", _of_token(one), b'"kind"'


def _list_by(path: Callable[[Population], str], wanted: bytes) -> Asking:
    def ask(of: Population, _: int) -> Asked:
        return path(of), _basic(_ADMIN, token_secret(of.administrators)), wanted

    return ask


def _another(of: Population, number: int, digits: tuple[int, ...]) -> int:
    """Return an access token, each time another one, of those whose number ends so."""
    user = number * _STEP % of.users
    return user * TOKENS_OF_USER + digits[number // of.users % len(digits)]


def _of_token(number: int) -> str:
    return _basic(user_name(user_of(number)), token_secret(number))


def _basic(name: str, secret: str) -> str:
    return f"Authorization: Basic {b64encode(f'{name}:{secret}'.encode()).decode()}\r\n"


def _middle(of: Population) -> str:
    return user_name(of.users // 2)


KINDS: Final[Mapping[str, tuple[Asking, int]]] = {
    "`/token`, access token, its first use": (_token_by(0, 2), ASKED),
    "`/token`, access token": (_token_by(1, 3), ASKED),
    "`/token`, the same access token again": (lambda of, _: token(of, 1), ASKED),
    "`/token`, robot": (_robot, ASKED),
    "tags of a repository, by an access token": (_tags, ASKED),
    "`/-/account`, by a session": (_page, ASKED // 2),
    "`/api/v1/organisations` of one": (_organisations_of_one, LISTED),
    "`/api/v1/organisations`, first page": (
        _list_by(lambda _: f"/api/v1/organisations?n={PAGE}", b'"next"'),
        LISTED,
    ),
    "`/api/v1/users`, first page": (
        _list_by(lambda _: f"/api/v1/users?n={PAGE}", b'"next"'),
        LISTED,
    ),
    "`/api/v1/users`, from the middle": (
        _list_by(lambda of: f"/api/v1/users?n={PAGE}&after={_middle(of)}", b'"next"'),
        LISTED,
    ),
    "`/api/v1/tokens` of another": (
        _list_by(lambda of: f"/api/v1/tokens?user={_middle(of)}", b'"next"'),
        LISTED,
    ),
}

"""Repository names and tags (OCI Distribution Spec, "Pulling manifests").

A repository is `namespace/name[/more]`: its first part is the user or organisation that owns it.
Every check is a `fullmatch` over ASCII, so no newline, NUL, dot-dot or Unicode digit gets through.
"""

import re
from typing import Final

from treescale.errors import NameInvalid, NamespaceMissing, TagInvalid

NAME_CHARACTERS_MAX: Final = 255
_COMPONENT: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAMESPACE: Final = re.compile(_COMPONENT)
_REPOSITORY: Final = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})+")
_TAG: Final = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
NAMESPACE_CHARACTERS_MAX: Final = 64
_RESERVED: Final = """
- api apple-touch-icon.png assets favicon.ico healthz index.html livez login logout metrics oauth
oauth2 peer readyz robots.txt sitemap.xml static stopz token well-known
"""
RESERVED: Final = frozenset(_RESERVED.split())
"""First parts of paths that are ours, or that others expect at the root of a host: no user and no
organisation gets one as a name. So `/NAMESPACE/IMAGE` can be a page; all other pages of ours live
under `/-/`, which is no name anyway."""
_VERSION: Final = re.compile(r"v[0-9]+")


def check_repository(name: str) -> str:
    """Return `name` when it is a repository name of at least two parts; else raise NameInvalid.

    For a name of one part NamespaceMissing: the specification allows it, so it is refused like a
    name that is somebody else's, which ends a `docker push` at once; NAME_INVALID is tried again
    for a minute.
    """
    if len(name) <= NAME_CHARACTERS_MAX and _NAMESPACE.fullmatch(name) is not None:
        raise NamespaceMissing(f"a repository here is USERNAME/IMAGE: use USERNAME/{name}")
    if len(name) > NAME_CHARACTERS_MAX or _REPOSITORY.fullmatch(name) is None:
        raise NameInvalid(
            "a repository is USERNAME/IMAGE: lower-case letters and digits, parts joined by '/', "
            f"inside a part by '.', '_', '__' or '-', at most {NAME_CHARACTERS_MAX} characters"
        )
    return name


def check_namespace(name: str) -> str:
    """Return `name` when it can be a repository's first part; else raise NameInvalid."""
    if len(name) > NAMESPACE_CHARACTERS_MAX or _NAMESPACE.fullmatch(name) is None:
        raise NameInvalid(
            "the name of a user or an organisation is lower-case letters and digits, joined by "
            f"'.', '_', '__' or '-', at most {NAMESPACE_CHARACTERS_MAX} characters"
        )
    return name


def check_new_namespace(name: str) -> str:
    """Return `name` when a new user or organisation may have it; else raise NameInvalid.

    Those who have one of these names already keep it, with all they may do.
    """
    if name in RESERVED or _VERSION.fullmatch(name) is not None:
        raise NameInvalid(
            f"the name {name} is kept for the server's own pages (/{name}/…): choose another"
        )
    return check_namespace(name)


def is_possible_namespace(name: str) -> bool:
    """Return whether `name` can be one, and is none of ours."""
    fits = len(name) <= NAMESPACE_CHARACTERS_MAX and _NAMESPACE.fullmatch(name) is not None
    return fits and name not in RESERVED and _VERSION.fullmatch(name) is None


def check_robot(name: str) -> str:
    """Return `name` when it can be a robot's, without its namespace; else raise NameInvalid."""
    if len(name) > NAMESPACE_CHARACTERS_MAX or _NAMESPACE.fullmatch(name) is None:
        raise NameInvalid(
            "a robot's name is lower-case letters and digits, joined by '.', '_', '__' or '-', "
            f"at most {NAMESPACE_CHARACTERS_MAX} characters; it logs in as NAMESPACE+NAME"
        )
    return name


def robot_parts(login: str) -> tuple[str, str] | None:
    """Return namespace and name of a robot that logs in as `acme+ci`; None for any other text."""
    namespace, plus, name = login.partition("+")
    try:
        return (check_namespace(namespace), check_robot(name)) if plus else None
    except NameInvalid:
        return None


def is_tag(text: str) -> bool:
    """Return whether `text` is a tag that `check_tag` accepts."""
    return _TAG.fullmatch(text) is not None


def check_tag(tag: str) -> str:
    """Return `tag` when it is one; else raise TagInvalid."""
    if not is_tag(tag):
        raise TagInvalid(
            "a tag is 1 to 128 letters, digits, '_', '.' or '-', starting with neither '.' nor '-'"
        )
    return tag


def namespace_of(repository: str) -> str:
    """Return the part of a repository's name that says whose it is."""
    return repository.partition("/")[0]

"""Trust rules: which ID tokens of an issuer are a robot's. Pure.

A rule has a glob for each of some claims, and takes a token of which all match. Issuers such as
GitHub sign for everybody, so a rule has to say whose a token is, by a claim that names the owner
and with no `*` in that name: `repo:acme*` is also of `acme-evil`, which anybody can register.

`*` is any text, and nothing else has a meaning in a glob. Claims that are neither text, number nor
true or false match nothing.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from treescale.errors import IdTokenInvalid, RequestInvalid

GITHUB: Final = "github"
GITLAB: Final = "gitlab"
KUBERNETES: Final = "kubernetes"
PRESETS: Final[Mapping[str, str]] = {
    GITHUB: "https://token.actions.githubusercontent.com",
    GITLAB: "https://gitlab.com",
    KUBERNETES: "",
}
"""The issuer of each, unless another is named; of Kubernetes each cluster has its own."""


@dataclass(frozen=True, slots=True)
class _Preset:
    """What ID tokens of a preset have, and no others."""

    issuer: re.Pattern[str]
    claims: frozenset[str]
    subject: str
    """How their subjects begin."""
    example: str


_OF_PRESETS: Final[Mapping[str, _Preset]] = {
    GITHUB: _Preset(
        re.compile(
            r"https://token\.actions\.(?:githubusercontent\.com|[a-z0-9-]+\.ghe\.com)(?:/.*)?"
            r"|https://[^/]+/_services/token"
        ),
        frozenset({"repository", "repository_id", "repository_owner", "repository_owner_id"}),
        "repo:",
        "--claim repository=OWNER/NAME",
    ),
    GITLAB: _Preset(
        re.compile(r"https://gitlab\.com"),
        frozenset({"namespace_id", "namespace_path", "project_id", "project_path"}),
        "project_path:",
        "--claim project_path=GROUP/PROJECT",
    ),
    KUBERNETES: _Preset(
        re.compile(r"https://kubernetes\.default\.svc(?:\..*)?"),
        frozenset({"service_account"}),
        "system:serviceaccount:",
        "--claim namespace=NAMESPACE --claim service_account=NAME",
    ),
}
CLAIMS_MAX: Final = 16
CHARACTERS_MAX: Final = 255
STARS_MAX: Final = 8
SUBJECT: Final = "sub"
OWNERS: Final = frozenset(
    {
        "namespace_id",
        "project_id",
        "repository_id",
        "repository_owner",
        "repository_owner_id",
    }
)
"""Claims that name an owner, or something of one, and are compared whole."""
PATHS: Final = frozenset({"namespace_path", "project_path", "repository"})
"""Claims that are paths, whose first part is the owner."""
EVENT: Final = "event_name"
FOREIGN_EVENT: Final = "pull_request_target"
"""Runs with the rights of a repository on what a stranger proposes to it."""
_CHECKED: Final = frozenset({"aud", "exp", "iat", "iss", "jti", "nbf"})
_NAME: Final = re.compile(r"[A-Za-z0-9_.:/-]{1,64}")
_OWNER_PATH: Final = re.compile(r"[^*/]+/.+")
_SUBJECTS: Final = (
    re.compile(r"repo:[^*/]+/"),
    re.compile(r"project_path:[^*/]+/"),
    re.compile(r"system:serviceaccount:[^*:]+:"),
)
"""How subjects begin with their owner: of GitHub, GitLab, Kubernetes."""
_OTHER_SUBJECT: Final = re.compile(r"(?!repo:|project_path:|system:)[^*:/]+[:/][^*:/]+[:/]")
"""Of anybody else: a word for what it is, and a name."""


def takes(claims: Mapping[str, str], told: Mapping[str, object]) -> bool:
    """Return whether a rule with these globs takes a token that tells this."""
    return bool(claims) and all(
        (value := _text(told.get(name))) is not None and matches(glob, value)
        for name, glob in claims.items()
    )


def check_event(told: Mapping[str, object]) -> None:
    """Raise IdTokenInvalid for a token of a run that strangers can begin with code of theirs."""
    if told.get(EVENT) == FOREIGN_EVENT:
        raise IdTokenInvalid(
            f"an ID token of a {FOREIGN_EVENT} run is not taken: it may run what a stranger wrote"
        )


def matches(glob: str, value: str) -> bool:
    """Return whether a value is of a glob; takes as long as both are."""
    first, *rest = glob.split("*")
    if not rest:
        return value == glob
    *middle, last = rest
    if not value.startswith(first):
        return False
    at = len(first)
    for word in middle:
        found = value.find(word, at)
        if found < 0:
            return False
        at = found + len(word)
    return len(value) - len(last) >= at and value.endswith(last)


def rule_of(issuer: str, claims: Mapping[str, str], preset: str = "") -> tuple[str, dict[str, str]]:
    """Return issuer and globs of a rule, with what a preset adds; raises RequestInvalid.

    Without an issuer it is the preset's.
    """
    if preset and preset not in PRESETS:
        raise RequestInvalid(f"{preset!r} is no preset: say {', '.join(PRESETS)}")
    issuer = issuer or PRESETS.get(preset, "")
    if not issuer:
        raise RequestInvalid("say whose ID tokens: --issuer https://…, the iss that they have")
    wanted = dict(claims)
    if preset:
        _check_preset(preset, issuer, wanted)
        if not wanted:
            raise RequestInvalid(f"say whose ID tokens: {_OF_PRESETS[preset].example}")
    if preset == KUBERNETES:
        wanted = _of_kubernetes(wanted)
    if preset == GITLAB:
        wanted.setdefault("ref_protected", "true")
    check_claims(wanted)
    return issuer, wanted


def _check_preset(preset: str, issuer: str, claims: Mapping[str, str]) -> None:
    """Raise RequestInvalid for an issuer, or for claims, that belong to another preset.

    GitLab and Kubernetes run at any address; GitHub's own servers do not, and its preset adds
    nothing but the issuer.
    """
    for other, its in _OF_PRESETS.items():
        if other == preset:
            continue
        if its.issuer.fullmatch(issuer):
            raise RequestInvalid(f"{issuer} is an issuer of {other}: say --preset {other}")
        for name, glob in claims.items():
            if name in its.claims or (name == SUBJECT and glob.startswith(its.subject)):
                raise RequestInvalid(
                    f"{name}={glob} is what ID tokens of {other} say, and none of {preset}: say "
                    f"--preset {other}, or {_OF_PRESETS[preset].example}"
                )
    if preset == GITHUB and not _OF_PRESETS[GITHUB].issuer.fullmatch(issuer):
        raise RequestInvalid(
            f"{issuer} is no issuer of GitHub's: leave --preset out if its ID tokens have the same "
            "claims"
        )


def check_claims(claims: Mapping[str, str]) -> None:
    """Raise RequestInvalid for a rule that cannot be, or would take tokens of strangers."""
    if not 0 < len(claims) <= CLAIMS_MAX:
        raise RequestInvalid(f"a trust rule has 1 to {CLAIMS_MAX} claims: --claim NAME=VALUE")
    for name, glob in claims.items():
        if _NAME.fullmatch(name) is None:
            raise RequestInvalid(f"{name[:64]!r} is no name of a claim")
        if name in _CHECKED:
            raise RequestInvalid(f"{name} is checked of every ID token: leave it out")
        if not (0 < len(glob) <= CHARACTERS_MAX and glob.isprintable()):
            raise RequestInvalid(f"{name}: 1 to {CHARACTERS_MAX} printable characters")
        if glob.count("*") > STARS_MAX:
            raise RequestInvalid(f"{name}: at most {STARS_MAX} *")
        _check_danger(name, glob)
    if not any(name == SUBJECT or name in OWNERS | PATHS for name in claims):
        raise RequestInvalid(
            "no claim says whose the ID tokens are, and the issuer signs for others, too: name one "
            f"of {', '.join(sorted({SUBJECT, *OWNERS, *PATHS}))}"
        )


def advice(claims: Mapping[str, str]) -> str:
    """Return what would make a rule better, "" when nothing is known."""
    by_name = {"repository", "repository_owner"} & claims.keys()
    if by_name and not {"repository_id", "repository_owner_id"} & claims.keys():
        return (
            "The owner is named, and not numbered: should the account be given up, whoever "
            "registers its name is taken for it. Add repository_owner_id=NUMBER "
            "(`gh api users/NAME --jq .id`)."
        )
    return ""


def _of_kubernetes(claims: dict[str, str]) -> dict[str, str]:
    """Return the rule of a service account, which is named in the subject."""
    namespace, account = claims.pop("namespace", ""), claims.pop("service_account", "")
    if not namespace or not account or "*" in namespace:
        raise RequestInvalid(
            "of Kubernetes say --claim namespace=NAMESPACE, without a *, and "
            "--claim service_account=NAME"
        )
    return {SUBJECT: f"system:serviceaccount:{namespace}:{account}", **claims}


def _check_danger(name: str, glob: str) -> None:
    if name == EVENT and matches(glob, FOREIGN_EVENT):
        raise RequestInvalid(f"{FOREIGN_EVENT} is never taken: it may run what a stranger wrote")
    if "*" not in glob:
        return
    before = glob.partition("*")[0]
    if name in OWNERS:
        raise RequestInvalid(f"{name} is compared whole: write it without *")
    if name in PATHS and _OWNER_PATH.fullmatch(glob) is None:
        raise RequestInvalid(
            f"{name}: no * in the owner's name, and a / after it, such as acme/*: else it is also "
            "of others whose names begin or end alike"
        )
    if name == SUBJECT and not any(one.match(before) for one in (*_SUBJECTS, _OTHER_SUBJECT)):
        raise RequestInvalid(
            "sub: no * before the end of the owner's name, such as repo:acme/*: else it is also of "
            "others whose names begin or end alike"
        )


def _text(value: object) -> str | None:
    """Return a claim as text, None when it has no such form."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int) else None

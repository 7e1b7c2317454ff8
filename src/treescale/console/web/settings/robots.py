"""`/NAMESPACE/-/robots`: who machines log in as, and whose ID tokens are their passwords."""

from collections.abc import Mapping
from typing import Any, Final

from treescale.auth.scopes import Action
from treescale.auth.trust_rules import GITHUB, GITLAB, KUBERNETES
from treescale.console.accounts.robots import RobotPage, RobotShown
from treescale.console.route import segment
from treescale.console.web.commands import Host, login_commands
from treescale.console.web.page import Moved, Page, Visit
from treescale.console.web.settings.asking import (
    proving,
    rights_of,
    sent,
    shown,
    told,
)
from treescale.errors import Refused

ALLOW: Final[Mapping[str, list[str]]] = {
    "push": [Action.PULL, Action.PUSH],
    "pull": [Action.PULL],
    "delete": [Action.PULL, Action.PUSH, Action.DELETE],
    "api": ["api"],
    "events": ["events"],
}
"""What a robot may, by the word of the form."""
CLAIMS: Final[Mapping[str, tuple[str, ...]]] = {
    GITHUB: ("repository", "repository_owner_id", "environment"),
    GITLAB: ("project_path", "namespace_id", "ref"),
    KUBERNETES: ("namespace", "service_account"),
}
"""Fields of each preset's form; what is left empty is not looked at."""
LISTED_MAX: Final = 100


async def show(visit: Visit) -> Page:
    """List them."""
    return await _list(visit)


async def add(visit: Visit) -> Page:
    """Make one; show its secret this once."""
    namespace, form = visit.parameters["namespace"], visit.form
    body = {
        "name": form.get("name", "").strip(),
        "allow": ALLOW.get(form.get("allow", ""), []),
        "repository": form.get("repository", "").strip() or "*",
        "expires": form.get("expires", ""),
    }
    made = await told(visit.api("POST", _path(namespace), body=body))
    if isinstance(made, Refused):
        return await _list(visit, made)
    return _secret(visit, made.robot.name, made.secret, is_new=True)


async def show_one(visit: Visit) -> Page:
    """Show one, and what it logs in by."""
    return await _one(visit)


async def rotate(visit: Visit) -> Page:
    """Give it another secret, and show it this once."""
    body = {"now": "now" in visit.form}
    made = await told(visit.api("POST", f"{_path_of(visit)}/rotate", body=body))
    if isinstance(made, Refused):
        return await _one(visit, made)
    return _secret(visit, made.name, made.secret, is_new=False)


async def remove(visit: Visit) -> Page | Moved:
    """Remove it."""
    return await sent(
        visit.api("DELETE", _path_of(visit)),
        lambda error: _one(visit, error),
        f"/{visit.parameters['namespace']}/-/robots?done=robots_removed",
    )


async def trust(visit: Visit) -> Page | Moved:
    """Have ID tokens be its password."""
    form = visit.form
    preset = form.get("preset", "")
    claims = {
        name: value for name in CLAIMS.get(preset, ()) if (value := form.get(name, "").strip())
    }
    body = {"preset": preset, "claims": claims, "issuer": form.get("issuer", "").strip()}
    made = await told(visit.api("POST", f"{_path_of(visit)}/rules", body=body))
    if isinstance(made, Refused):
        return await _one(visit, made)
    done = "robots_trusted_by_name" if made.advice else "robots_trusted"
    return Moved(f"{_here(visit)}?done={done}")


async def distrust(visit: Visit) -> Page | Moved:
    """Remove a trust rule."""
    rule = segment(visit.form.get("rule", "") or "-")
    return await sent(
        visit.api("DELETE", f"{_path_of(visit)}/rules/{rule}"),
        lambda error: _one(visit, error),
        f"{_here(visit)}?done=robots_distrusted",
    )


def _path(namespace: str) -> str:
    return f"/organisations/{segment(namespace)}/robots"


def _path_of(visit: Visit) -> str:
    return f"{_path(visit.parameters['namespace'])}/{segment(visit.parameters['robot'])}"


def _here(visit: Visit) -> str:
    return f"/{visit.parameters['namespace']}/-/robots/{visit.parameters['robot']}"


async def _list(visit: Visit, error: Refused | None = None) -> Page:
    namespace = visit.parameters["namespace"]
    query = {"n": str(LISTED_MAX)}
    if after := visit.query.get("after"):
        query["after"] = after
    page: RobotPage = await visit.api("GET", _path(namespace), query=query)
    values: dict[str, Any] = {
        "namespace": namespace,
        "robots": page.robots,
        "next_page": page.next,
        "given": visit.form,
        "allowed": [*ALLOW],
        **proving(visit, f"/{namespace}/-/robots"),
        **(await rights_of(visit)).tabs(namespace),
    }
    return shown("settings/robots.html", values, error)


async def _one(visit: Visit, error: Refused | None = None) -> Page:
    namespace = visit.parameters["namespace"]
    found: RobotShown = await visit.api("GET", _path_of(visit))
    values: dict[str, Any] = {
        "namespace": namespace,
        "short": visit.parameters["robot"],
        "robot": found.robot,
        "secrets": found.secrets,
        "rules": found.rules,
        "given": visit.form,
        "presets": CLAIMS,
        **proving(visit, _here(visit)),
        **(await rights_of(visit)).tabs(namespace),
    }
    return shown("settings/robot.html", values, error)


def _secret(visit: Visit, robot: str, secret: str, *, is_new: bool) -> Page:
    namespace = visit.parameters["namespace"]
    values = {
        "namespace": namespace,
        "robot": robot,
        "secret": secret,
        "is_new": is_new,
        "logins": login_commands(Host.of(visit.place.origin), robot),
        "to": f"/{namespace}/-/robots/{robot.partition('+')[2]}",
    }
    return Page("settings/robot_secret.html", values)

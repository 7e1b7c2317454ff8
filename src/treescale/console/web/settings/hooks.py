"""`/NAMESPACE/-/hooks` and `/NAMESPACE/NAME/-/hooks`: webhooks, and what was sent to them."""

from fnmatch import fnmatchcase
from typing import Any, Final

from treescale.auth.roles import Permission
from treescale.console.hooks import HookPage, HookRow
from treescale.console.route import segment
from treescale.console.web.page import Moved, Page, Visit
from treescale.console.web.settings.asking import (
    check_fresh,
    proving,
    rights_of,
    sent,
    shown,
    told,
    words,
)
from treescale.console.web.texts import TEXTS
from treescale.errors import HookUnknown, Refused, RequestInvalid
from treescale.events.hooks.planner import DEFAULT_KINDS
from treescale.metadata.events.hook_records import HookFormat, HookState
from treescale.oci.names import namespace_of

LISTED_MAX: Final = 1000
"""More than there may be of a namespace."""


async def show(visit: Visit) -> Page:
    """List those that hear of it."""
    return await _list(visit)


async def add(visit: Visit) -> Page | Moved:
    """Make one; show the secret this once, if one was made."""
    of, form = _of(visit), visit.form
    if (stale := check_fresh(visit)) is not None:
        return await _list(visit, stale)
    scope = form.get("scope", "").strip() or of
    if namespace_of(scope) != namespace_of(of):
        text = TEXTS["hooks_elsewhere"].format(name=namespace_of(of))
        return await _list(visit, RequestInvalid(text))
    body = {
        "scope": scope,
        "url": form.get("url", "").strip(),
        "format": form.get("format", ""),
        "kinds": words(form.get("kinds", "")) or [*DEFAULT_KINDS],
        "template": form.get("template", ""),
        "secret": form.get("secret", "").strip(),
    }
    made = await told(visit.api("POST", "/hooks", body=body))
    if isinstance(made, Refused):
        return await _list(visit, made)
    to = f"/{of}/-/hooks/{made.hook.id}"
    if made.secret is None:
        return Moved(f"{to}?done=hooks_added")
    return _secret(of, made.secret, to)


async def show_one(visit: Visit) -> Page:
    """Show one, with what was sent to it lately."""
    return await _one(visit)


async def rotate(visit: Visit) -> Page | Moved:
    """Sign with another secret; show it this once, if one was made."""
    if (stale := check_fresh(visit)) is not None:
        return await _one(visit, stale)
    body = {"secret": visit.form.get("secret", "").strip()}
    hook = await _hook(visit)
    made = await told(visit.api("POST", f"/hooks/{segment(hook.id)}/rotate", body=body))
    if isinstance(made, Refused):
        return await _one(visit, made)
    to = _here(visit)
    return (
        Moved(f"{to}?done=hooks_rotated")
        if made.secret is None
        else _secret(_of(visit), made.secret, to)
    )


async def ping(visit: Visit) -> Page | Moved:
    """Send an event that is none."""
    return await _do(visit, "POST", "/ping", "hooks_sent")


async def enable(visit: Visit) -> Page | Moved:
    """Have it be asked again."""
    return await _do(visit, "POST", "/enable", "hooks_enabled")


async def disable(visit: Visit) -> Page | Moved:
    """Have it be left alone."""
    return await _do(visit, "POST", "/disable", "hooks_disabled")


async def remove(visit: Visit) -> Page | Moved:
    """Remove it."""
    of = _of(visit)
    hook = await _hook(visit)
    return await sent(
        visit.api("DELETE", f"/hooks/{segment(hook.id)}"),
        lambda error: _one(visit, error),
        f"/{of}/-/hooks?done=hooks_removed",
    )


async def redeliver(visit: Visit) -> Page | Moved:
    """Send once more what was sent."""
    await _hook(visit)
    delivery = segment(visit.form.get("delivery", "") or "-")
    return await sent(
        visit.api("POST", f"/deliveries/{delivery}/redeliver"),
        lambda error: _one(visit, error),
        f"{_here(visit)}?done=hooks_sent",
    )


async def _do(visit: Visit, method: str, what: str, done: str) -> Page | Moved:
    hook = await _hook(visit)
    return await sent(
        visit.api(method, f"/hooks/{segment(hook.id)}{what}"),
        lambda error: _one(visit, error),
        f"{_here(visit)}?done={done}",
    )


def _of(visit: Visit) -> str:
    """Return whose hooks the page is of: a repository, or a namespace."""
    return visit.parameters.get("name") or visit.parameters["namespace"]


def _here(visit: Visit) -> str:
    return f"/{_of(visit)}/-/hooks/{visit.parameters['hook']}"


def _hears_of(hook: HookRow, of: str) -> bool:
    """Return whether a hook is of a namespace, or hears of a repository."""
    its = namespace_of(of) == namespace_of(hook.scope)
    return its and ("/" not in of or "/" not in hook.scope or fnmatchcase(of, hook.scope))


async def _hook(visit: Visit) -> HookRow:
    """Return the hook of the path; raises HookUnknown for one of something else."""
    wanted = visit.parameters["hook"]
    found: HookRow = await visit.api("GET", f"/hooks/{segment(wanted)}")
    if not _hears_of(found, _of(visit)):
        raise HookUnknown(f"no webhook {wanted}")
    return found


async def _list(visit: Visit, error: Refused | None = None) -> Page:
    of = _of(visit)
    namespace = namespace_of(of)
    await visit.api("GET", f"/{'repositories' if '/' in of else 'organisations'}/{segment(of)}")
    rights = await rights_of(visit)
    rights.check(namespace, Permission.HOOKS)
    query = {"n": str(LISTED_MAX), "namespace": namespace}
    page: HookPage = await visit.api("GET", "/hooks", query=query)
    values: dict[str, Any] = {
        "of": of,
        "namespace": namespace,
        "hooks": [hook for hook in page.hooks if _hears_of(hook, of)],
        "formats": [one.value for one in HookFormat],
        "kinds": ", ".join(DEFAULT_KINDS),
        "given": visit.form,
        **proving(visit, f"/{of}/-/hooks"),
        **rights.tabs(of),
    }
    return shown("settings/hooks.html", values, error)


async def _one(visit: Visit, error: Refused | None = None) -> Page:
    of, hook = _of(visit), await _hook(visit)
    found = await visit.api("GET", f"/hooks/{segment(hook.id)}/deliveries")
    values: dict[str, Any] = {
        "of": of,
        "namespace": namespace_of(of),
        "hook": hook,
        "is_enabled": hook.state == HookState.ENABLED.value,
        "deliveries": found.deliveries,
        **proving(visit, _here(visit)),
        **(await rights_of(visit)).tabs(of),
    }
    return shown("settings/hook.html", values, error)


def _secret(of: str, secret: str, to: str) -> Page:
    values = {"of": of, "namespace": namespace_of(of), "secret": secret, "to": to}
    return Page("settings/hook_secret.html", values)

"""`/…/-/rules` of a namespace or a repository: which tags stay, and which go after a while."""

from typing import Any

from treescale.auth.roles import Permission
from treescale.console.route import segment
from treescale.console.rules import Explanation, RetentionPlan, RuleList, RuleRow
from treescale.console.web.page import Moved, Page, Visit
from treescale.console.web.settings.asking import rights_of, sent, shown, told, words
from treescale.console.web.texts import TEXTS
from treescale.errors import FieldInvalid, Refused, RuleUnknown
from treescale.oci.names import namespace_of

_UNITS = ((86_400, "d"), (3600, "h"), (60, "m"), (1, "s"))


async def show(visit: Visit) -> Page:
    """List the rules that speak there; with `tag` say what becomes of it."""
    return await _list(visit)


async def add(visit: Visit) -> Page | Moved:
    """Make a rule."""
    of, form = _of(visit), visit.form
    wanted: dict[str, Any] = {"kind": form.get("kind", "")}
    if tags := words(form.get("tags", "")):
        wanted["tags"] = tags
    if wanted["kind"] == "immutable":
        wanted |= {word: word in form for word in ("may_delete", "may_expire")}
    else:
        times = {word: form.get(word, "").strip() for word in ("keep_pushed", "keep_pulled")}
        wanted |= {word: text for word, text in times.items() if text}
    if last := form.get("keep_last", "").strip():
        if not (last.isascii() and last.isdigit()):
            return await _list(visit, FieldInvalid(TEXTS["rules_last_number"], "keep_last"))
        wanted["keep_last"] = int(last[:18])
    return await sent(
        visit.api("POST", f"/rules/{segment(of)}", body=wanted),
        lambda error: _list(visit, error),
        f"/{of}/-/rules?done=rules_added",
    )


async def show_plan(visit: Visit) -> Page:
    """Show what its rules would have go now."""
    return await _plan(visit)


async def confirm(visit: Visit) -> Page | Moved:
    """Have that go, and others when it is time."""
    of = _of(visit)
    body = {"confirmed_digest": visit.form.get("digest", "")}
    return await sent(
        visit.api("POST", f"/retention/{segment(of)}", body=body),
        lambda error: _plan(visit, error),
        f"/{of}/-/rules?done=rules_confirmed",
    )


async def show_removal(visit: Visit) -> Page:
    """Show what would go without the rule."""
    return await _removal(visit)


async def remove(visit: Visit) -> Page | Moved:
    """Remove the rule, by who has seen that."""
    of = _of(visit)
    query = {"rule": visit.parameters["rule"], "confirmed_digest": visit.form.get("digest", "")}
    return await sent(
        visit.api("DELETE", f"/rules/{segment(of)}", query=query),
        lambda error: _removal(visit, error),
        f"/{of}/-/rules?done=rules_removed",
    )


def _of(visit: Visit) -> str:
    return visit.parameters.get("name") or visit.parameters["namespace"]


async def _list(visit: Visit, error: Refused | None = None) -> Page:
    of, tag = _of(visit), visit.query.get("tag", "").strip()
    found: RuleList = await visit.api("GET", f"/rules/{segment(of)}")
    explained: Explanation | None = None
    if tag:
        query = {"tag": tag}
        answer = await told(visit.api("GET", f"/explain/{segment(of)}", query=query))
        if isinstance(answer, Refused):
            error = error or answer
        else:
            explained = answer
    rights = await rights_of(visit)
    values: dict[str, Any] = {
        "of": of,
        "namespace": namespace_of(of),
        "is_repository": "/" in of,
        "rules": [_shown(one, of) for one in found.rules],
        "waits": any(one.name == of and not one.confirmed for one in found.rules),
        "changes": rights.may(of, Permission.RULES),
        "given": visit.form,
        "tag": tag,
        "explained": explained,
        "why": "" if explained is None else TEXTS[f"rules_why_{explained.why.replace('-', '_')}"],
        "by": [] if explained is None else [_shown(one, of) for one in explained.rules],
        **rights.tabs(of),
    }
    return shown("settings/rules.html", values, error)


async def _plan(visit: Visit, error: Refused | None = None) -> Page:
    of = _of(visit)
    plan: RetentionPlan = await visit.api("GET", f"/retention/{segment(of)}")
    found: RuleList = await visit.api("GET", f"/rules/{segment(of)}")
    values: dict[str, Any] = {
        "of": of,
        "namespace": namespace_of(of),
        "plan": plan,
        "waits": any(one.name == of and not one.confirmed for one in found.rules),
        **(await rights_of(visit)).tabs(of),
    }
    return shown("settings/rules_plan.html", values, error)


async def _removal(visit: Visit, error: Refused | None = None) -> Page:
    of, rule = _of(visit), visit.parameters["rule"]
    found: RuleList = await visit.api("GET", f"/rules/{segment(of)}")
    its = [one for one in found.rules if str(one.rule) == rule and one.name == of]
    if not its:
        raise RuleUnknown(f"no rule {rule} of {of}")
    query = {"without": rule}
    plan: RetentionPlan = await visit.api("GET", f"/retention/{segment(of)}", query=query)
    values: dict[str, Any] = {
        "of": of,
        "namespace": namespace_of(of),
        "rule": _shown(its[0], of),
        "plan": plan,
        **(await rights_of(visit)).tabs(of),
    }
    return shown("settings/rules_removal.html", values, error)


def _shown(rule: RuleRow, of: str) -> dict[str, Any]:
    """Return a rule as people read it."""
    return {
        "rule": rule.rule,
        "whose": rule.name or TEXTS["rules_cluster"],
        "is_own": rule.name == of,
        "is_immutable": rule.kind == "immutable",
        "tags": ", ".join(rule.tags),
        "says": _says(rule),
        "confirmed": rule.confirmed,
    }


def _says(rule: RuleRow) -> str:
    if rule.kind == "immutable":
        loose = [
            TEXTS[f"rules_{word}"] for word in ("may_delete", "may_expire") if getattr(rule, word)
        ]
        return ", ".join([TEXTS["rules_stays"], *loose])
    said = []
    if rule.keep_last is not None:
        said.append(TEXTS["rules_says_last"].format(count=rule.keep_last))
    if rule.keep_pushed:
        said.append(TEXTS["rules_says_pushed"].format(time=_time(rule.keep_pushed)))
    if rule.keep_pulled:
        said.append(TEXTS["rules_says_pulled"].format(time=_time(rule.keep_pulled)))
    return TEXTS["rules_says_or"].join(said) if said else TEXTS["rules_says_always"]


def _time(seconds: float) -> str:
    whole = int(seconds)
    unit, word = next(each for each in _UNITS if whole % each[0] == 0)
    return f"{whole // unit}{word}"

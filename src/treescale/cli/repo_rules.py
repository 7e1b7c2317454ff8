"""`treescale repo rules` and `treescale repo explain`: which tags stay, and which go."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import click

from treescale.cli.terminal.options import CommandContext, cluster_options, confirm
from treescale.console.route import segment
from treescale.errors import RequestInvalid
from treescale.maintenance.report.columns import Column, Kind, Row
from treescale.oci.image_reference import parse_reference

LISTED = (
    Column("rule", Kind.COUNT),
    Column("of"),
    Column("tags"),
    Column("says"),
    Column("confirmed", Kind.FLAG),
)
GOING = (
    Column("repository"),
    Column("tag"),
    Column("pushed", Kind.TIME),
    Column("pulled", Kind.TIME, empty="never"),
    Column("rules"),
)
SHOWN_MAX: Final = 50
"""Tags of a plan that people are shown before they are asked."""
_UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "m"), (1, "s"))
Found = Mapping[str, Any]
WHY: Final = {
    "no-rule": "no rule of retention speaks of it",
    "immutable": "it is immutable",
    "of-image": "it says something of an image, and goes with that",
    "unconfirmed": "no rule keeps it, and nobody has confirmed the rules that speak of it",
    "always": "a rule keeps it always",
    "last": "it is among the last that were pushed",
    "pushed": "it was pushed lately",
    "pulled": "it was pulled lately, or pushed",
    "not-kept": "no rule keeps it",
}


@click.command("rules", short_help="Which tags stay as they are, and which go after a while.")
@click.argument("name", metavar="NAME|NAMESPACE", required=False)
@click.option("--cluster", is_flag=True, help="The rules of all namespaces.")
@click.option("--immutable", multiple=True, metavar="GLOB", help="These tags never move: 'v*'.")
@click.option("--may-delete", is_flag=True, help="What is immutable may be deleted by hand.")
@click.option("--may-expire", is_flag=True, help="What is immutable may go by other rules.")
@click.option("--keep-last", type=int, metavar="N", help="Keep the last N that were pushed.")
@click.option("--keep", metavar="30d", help="Keep so long after the push.")
@click.option("--keep-pulled", metavar="30d", help="Keep so long after the last pull.")
@click.option("--keep-always", is_flag=True, help="Keep, whatever wider rules say.")
@click.option("--tags", multiple=True, metavar="GLOB", help="Of which tags that is said: 'pr-*'.")
@click.option("--remove", type=int, metavar="RULE", help="Remove the rule of this number.")
@click.option("--dry-run", is_flag=True, help="Show what would go now.")
@click.option("--apply", is_flag=True, help="Show that, ask, and have it go from now on.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@cluster_options
def rules(desk: CommandContext, name: str | None, *, cluster: bool, **said: Any) -> None:
    """Say which tags of a repository, a namespace or the cluster stay, and which go after a while.

    Without options the rules are listed that speak there. Tags of which no rule speaks stay. A rule
    that keeps some removes nothing until --apply has shown what would go, and somebody has said
    yes; what is removed can be restored for a while.
    """
    if cluster == (name is not None):
        raise click.UsageError("say NAME, NAMESPACE or --cluster")
    place = _Place(desk, name)
    if said["remove"] is not None:
        place.remove(said["remove"], yes=said["yes"])
    if said["immutable"]:
        place.add(_immutable(said))
    if keeps := _keeping(said):
        place.add(keeps)
    if said["dry_run"] or said["apply"]:
        place.show_plan(apply=said["apply"], yes=said["yes"])
    elif not place.changed:
        place.list()
    place.answer()


class _Place:
    """The rules of one repository, one namespace, or the cluster."""

    def __init__(self, desk: CommandContext, name: str | None) -> None:
        self._desk = desk
        self._name = name
        self._path = "" if name is None else f"/{segment(name)}"
        self._done: list[tuple[str, Row]] = []
        self._is_answered = False

    @property
    def changed(self) -> bool:
        """Return whether a rule was made or removed."""
        return bool(self._done)

    @property
    def _option(self) -> str:
        return self._name or "--cluster"

    def list(self) -> None:
        """List the rules."""
        found = self._desk.ask("GET", f"/rules{self._path}")["rules"]
        self._desk.out.rows(LISTED, [_row(one) for one in found])
        if any(not one["confirmed"] for one in found):
            self._desk.out.note(f"What is not confirmed removes nothing: {self._how_to_apply()}.")

    def add(self, body: Found) -> None:
        """Make a rule."""
        made = self._desk.ask("POST", f"/rules{self._path}", body=body)
        told = f"Rule {made['rule']} for {', '.join(made['tags'])}: {_says(made)}."
        if not made["confirmed"]:
            told += f" It removes nothing yet: {self._how_to_apply()}."
        self._done.append((told, _row(made)))

    def remove(self, rule: int, *, yes: bool) -> None:
        """Remove a rule; ask first when others would have tags go without it."""
        plan = self._desk.ask("GET", f"/retention{self._path}", query={"without": str(rule)})
        if plan["removed"]:
            self._show(plan)
            confirm(f"Have {plan['removed']:,} tags go by other rules?", yes=yes)
        query = {"rule": str(rule), "confirmed_digest": plan["digest"]}
        gone = self._desk.ask("DELETE", f"/rules{self._path}", query=query)
        told = f"Rule {rule} is removed."
        if gone["kind"] == "retention":
            told += f" If others are left, they wait: {self._how_to_apply()}."
        self._done.append((told, _row(gone)))

    def show_plan(self, *, apply: bool, yes: bool) -> None:
        """Show what would go; with `apply` ask, and have it go."""
        out = self._desk.out
        plan = self._desk.ask("GET", f"/retention{self._path}")
        if not out.as_json:
            for told, _ in self._done:
                out.note(told)
            self._show(plan)
        if apply:
            confirm(f"Have {plan['removed']:,} tags go, and others when it is time?", yes=yes)
            body = {"confirmed_digest": plan["digest"]}
            plan = self._desk.ask("POST", f"/retention{self._path}", body=body)
        self._is_answered = True
        if out.as_json or apply:
            told = "They go within the hour, and can be restored for a while."
            out.done(told, {**plan, "applied": apply})

    def _show(self, plan: Found) -> None:
        """Show people what a plan has go."""
        if not self._desk.out.as_json:
            self._desk.out.rows(GOING, [_going(one) for one in plan["tags"][:SHOWN_MAX]])
            self._desk.out.note(_sum(plan))

    def answer(self) -> None:
        """Say what was done, unless that was said."""
        for told, row in () if self._is_answered else self._done:
            self._desk.out.done(told, row)

    def _how_to_apply(self) -> str:
        return f"`treescale repo rules {self._option} --apply` shows what would go, and asks"


@click.command("explain", short_help="Say which rule keeps or removes a tag, and when.")
@click.argument("reference", metavar="NAME:TAG")
@cluster_options
def explain(desk: CommandContext, reference: str) -> None:
    """Say whether a tag stays, until when, and by which rule."""
    wanted = parse_reference(reference)
    if wanted.tag is None:
        raise RequestInvalid(f"say which tag: {wanted.name}:TAG")
    found = desk.ask("GET", f"/explain/{segment(wanted.name)}", query={"tag": wanted.tag})
    desk.out.done(explained(found), dict(found))


def explained(found: Found) -> str:
    """Return in words what becomes of a tag."""
    why = WHY.get(found["why"], found["why"])
    verb = "stays" if found["kept"] else "goes within the hour"
    if found["until"] is not None:
        until = datetime.fromisoformat(found["until"])
        verb += f" until {until:%Y-%m-%d %H:%M} UTC at least"
    told = f"{found['repository']}:{found['tag']} {verb}: {why}."
    for one in found["rules"]:
        told += f"\n  {_named(one)}: {_says(one)}"
    for one in found["against"]:
        told += f"\n  in vain, as it is immutable, {_named(one)}: {_says(one)}"
    if found["why"] == "unconfirmed":
        option = found["rules"][0]["name"] or "--cluster"
        told += f"\n`treescale repo rules {option} --apply` shows what would go, and asks."
    return told


def _immutable(said: Found) -> Found:
    return {
        "kind": "immutable",
        "tags": [*said["immutable"]],
        "may_delete": said["may_delete"],
        "may_expire": said["may_expire"],
    }


def _keeping(said: Found) -> Found | None:
    """Return the rule of retention that was asked for; None when none was."""
    conditions = {
        "keep_last": said["keep_last"],
        "keep_pushed": said["keep"],
        "keep_pulled": said["keep_pulled"],
    }
    given = {name: value for name, value in conditions.items() if value is not None}
    tags = {"tags": [*said["tags"]]} if said["tags"] else {}
    if not given and not said["keep_always"]:
        if tags:
            raise click.UsageError("--tags goes with --keep, --keep-last, --keep-pulled or so")
        return None
    if given and said["keep_always"]:
        raise click.UsageError("--keep-always is said alone")
    return {"kind": "retention", **tags, **given}


def _row(one: Found) -> Row:
    return {**one, "of": one["name"] or "the cluster", "says": _says(one)}


def _named(one: Found) -> str:
    of = f"{one['scope']} {one['name']}".rstrip()
    return f"rule {one['rule']} of the {of} ({','.join(one['tags'])})"


def _says(one: Found) -> str:
    """Return in words what a rule says."""
    if one["kind"] == "immutable":
        loose = [word for word in ("may_delete", "may_expire") if one[word]]
        return ", ".join(["immutable", *(word.replace("_", " ") for word in loose)])
    said: Sequence[str] = [
        *([f"the last {one['keep_last']}"] if one["keep_last"] is not None else []),
        *([f"{_time(one['keep_pushed'])} after a push"] if one["keep_pushed"] else []),
        *([f"{_time(one['keep_pulled'])} after a pull"] if one["keep_pulled"] else []),
    ]
    return f"keep {', or '.join(said)}" if said else "keep always"


def _time(seconds: float) -> str:
    whole = int(seconds)
    unit, word = next(each for each in _UNITS if whole % each[0] == 0)
    return f"{whole // unit}{word}"


def _going(one: Found) -> Row:
    times = {
        name: None if one[name] is None else datetime.fromisoformat(one[name])
        for name in ("pushed", "pulled")
    }
    return {**one, **times}


def _sum(plan: Found) -> str:
    more = plan["removed"] - min(len(plan["tags"]), SHOWN_MAX)
    told = f"{plan['removed']:,} tags would go now"
    told += f", of which {more:,} are not shown" if more else ""
    told += f"; {plan['kept']:,} stay"
    if plan["immutable"]:
        told += f", {plan['immutable']:,} of them as they are immutable"
    return f"{told}."

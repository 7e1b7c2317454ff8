"""`treescale repo`: repositories, what they hold and what that takes."""

from typing import Any

import click

from treescale.auth.roles import Visibility
from treescale.cli.repo_describe import describe
from treescale.cli.repo_restore import deleted, restore
from treescale.cli.repo_rules import explain, rules
from treescale.cli.terminal.command_group import CommandGroup
from treescale.cli.terminal.options import CommandContext, cluster_options, confirm
from treescale.console.content.report import BLOBS, PLACES, TAGS
from treescale.console.route import segment
from treescale.errors import Forbidden
from treescale.lease_times import OFF, ON
from treescale.maintenance.report.columns import Column, Kind
from treescale.oci.image_reference import parse_reference
from treescale.oci.names import check_namespace, check_repository, check_tag

LISTED = (
    Column("name"),
    Column("public", Kind.FLAG),
    Column("read_only", empty="no"),
    Column("created", Kind.TIME),
    Column("size", Kind.BYTES),
    Column("tags", Kind.COUNT),
    Column("pushed", Kind.TIME, empty="-"),
    Column("visibility"),
)
SUMMARY = (
    Column("name"),
    Column("public", Kind.FLAG),
    Column("visibility"),
    Column("read_only", empty="no"),
    Column("created", Kind.TIME),
    Column("tags", Kind.COUNT),
    Column("manifests", Kind.COUNT),
    Column("blobs", Kind.COUNT),
    Column("pushed_bytes", Kind.BYTES),
    Column("stored_bytes", Kind.BYTES),
    Column("deduplication_saved_bytes", Kind.BYTES),
    Column("shared_with_others_bytes", Kind.BYTES),
    Column("own_bytes", Kind.BYTES),
)
SEEN = (
    Column("tag"),
    Column("digest"),
    Column("pushed", Kind.TIME),
    Column("pushed_by", empty="?"),
    Column("pulled", Kind.TIME, empty="-"),
    Column("pulls", Kind.COUNT),
)


@click.group(cls=CommandGroup)
def repo() -> None:
    """Repositories. They come into being when something is pushed to them."""


repo.add_command(describe)
repo.add_command(deleted)
repo.add_command(restore)
repo.add_command(rules)
repo.add_command(explain)


@repo.command("list", short_help="List all repositories, with sizes, tags and last pushes.")
@click.option(
    "--sort",
    "order",
    type=click.Choice(["name", "size", "pushed"]),
    default="name",
    help="Largest, or pushed to last, first.",
)
@cluster_options
def list_repositories(desk: CommandContext, order: str) -> None:
    """List all repositories, with their size, their tags, and when one was pushed last.

    The size is that of the blobs as they were pushed, each once.
    """
    found = desk.pages("/repositories", "repositories")
    if order == "size":
        found.sort(key=lambda one: -one["bytes"])
    elif order == "pushed":
        found.sort(key=lambda one: one["pushed"] or "", reverse=True)
    desk.out.rows(LISTED, [_listed(one) for one in found])


@repo.command("show", short_help="Show its tags, its size, what chunks save and where they lie.")
@click.argument("name", metavar="NAME[:TAG]")
@cluster_options
def show(desk: CommandContext, name: str) -> None:
    """Show a repository's tags and blobs, what deduplication saves, and where chunks belong.

    With a tag, that image alone is looked at.
    """
    repository, colon, tag = name.partition(":")
    check_repository(repository)
    path = _path(repository)
    try:
        seen = desk.ask("GET", f"{path}/report", query={"tag": check_tag(tag) if colon else None})
    except Forbidden:  # where chunks lie is for administrators
        _show_tags(desk, path)
        return
    summary, contents = seen["summary"], seen["contents"]
    if desk.out.as_json:
        desk.out.one(SUMMARY, {**summary, **contents})
        return
    desk.out.one(SUMMARY, summary)
    desk.out.rows(TAGS, contents["tag_list"])
    desk.out.rows(BLOBS, contents["blob_list"])
    if contents["belongs_on"]:
        desk.out.rows(PLACES, contents["belongs_on"], "place")
    for note in seen["notes"]:
        desk.out.note(note)


def _show_tags(desk: CommandContext, path: str) -> None:
    """Show what whoever may pull is shown."""
    summary = _listed(desk.ask("GET", path))
    tags = desk.pages(f"{path}/tags", "tags")
    if desk.out.as_json:
        desk.out.one(LISTED, {**summary, "tag_list": tags})
        return
    desk.out.one(LISTED, summary)
    desk.out.rows(SEEN, tags)


@repo.command("public")
@click.argument("name")
@cluster_options
def public(desk: CommandContext, name: str) -> None:
    """Let everybody pull it, without logging in."""
    _set_visibility(desk, name, Visibility.PUBLIC, "public: everybody may pull it")


@repo.command("internal")
@click.argument("name")
@cluster_options
def internal(desk: CommandContext, name: str) -> None:
    """Let whoever is signed in pull it."""
    _set_visibility(desk, name, Visibility.INTERNAL, "internal: whoever is signed in may pull it")


@repo.command("private")
@click.argument("name")
@cluster_options
def private(desk: CommandContext, name: str) -> None:
    """Let nobody pull it but its user, or who has a role there."""
    _set_visibility(desk, name, Visibility.PRIVATE, "private")


@repo.command("read-only", short_help="Refuse pushes and deletions there.")
@click.argument("name", metavar="NAME|NAMESPACE")
@click.argument("switch", type=click.Choice([ON, OFF]))
@cluster_options
def read_only(desk: CommandContext, name: str, switch: str) -> None:
    """Have a repository, or all of a namespace, stay as it is: pulls go on.

    Nothing is pushed or deleted there, by anybody. A name without a slash is a namespace's: all
    repositories of that user, also those that are not there yet.
    """
    is_on, is_repository = switch == ON, "/" in name
    noun = "repository" if is_repository else "namespace"
    check_repository(name) if is_repository else check_namespace(name)

    desk.ask("PUT", f"/read-only/{segment(name)}", body={"read_only": is_on})
    word = "read-only: pulls go on" if is_on else "not read-only any more"
    desk.out.done(f"The {noun} {name} is {word}.", {"name": name, "read_only": is_on})


@repo.command("delete", short_help="Delete a repository, one tag, or one manifest by its digest.")
@click.argument("reference", metavar="NAME[:TAG|@DIGEST]")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--force", is_flag=True, help="A repository also with tags that are immutable.")
@cluster_options
def delete(desk: CommandContext, reference: str, *, yes: bool, force: bool) -> None:
    """Delete a repository with all its tags and manifests.

    With a tag that tag alone: what it points at stays, with its other tags. With a digest that
    manifest and every tag that points at it.
    """
    wanted = parse_reference(reference)
    path = _path(wanted.name)
    if wanted.tag is not None:
        confirm(f"Delete the tag {wanted}?", yes=yes)
        desk.ask("DELETE", f"{path}/tags/{segment(wanted.tag)}")
        desk.out.done(f"{wanted} deleted", {"name": wanted.name, "tag": wanted.tag})
    elif wanted.digest is not None:
        manifest = f"{path}/manifests/{segment(wanted.digest)}"
        tags = desk.ask("GET", manifest)["tags"]
        named = f" and its tags {', '.join(tags)}" if tags else ""
        confirm(f"Delete {wanted}{named}?", yes=yes)
        desk.ask("DELETE", manifest)
        said = {"name": wanted.name, "digest": wanted.digest, "tags": tags}
        desk.out.done(f"{wanted} deleted{named}", said)
    else:
        confirm(f"Delete {wanted} with all its tags and manifests?", yes=yes)
        desk.ask("DELETE", path, query={"force": "1"} if force else None)
        desk.out.done(f"{wanted} deleted", {"name": wanted.name})


@repo.command("copy", short_help="Give an image another name or tag; no byte is moved.")
@click.argument("source", metavar="NAME:TAG|NAME@DIGEST")
@click.argument("target", metavar="NAME[:TAG]")
@cluster_options
def copy(desk: CommandContext, source: str, target: str) -> None:
    """Copy an image to another repository or tag, as if it had been pulled and pushed.

    With it come the parts of an index, and its signatures and what else is said of it. No byte is
    moved. Without a tag the copy has that of the source. For who may pull the one and push the
    other.
    """
    done = desk.ask("POST", "/copies", body={"source": source, "target": target})
    desk.out.done(f"{done['target']} is {done['digest']} from now on.", done)


@repo.command("move", short_help="Give a repository, or all of a namespace, another name.")
@click.argument("old", metavar="NAME|NAMESPACE/")
@click.argument("new", metavar="NAME|NAMESPACE/")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--force", is_flag=True, help="Also what rules keep here, or remove there.")
@cluster_options
def move(desk: CommandContext, old: str, new: str, *, yes: bool, force: bool) -> None:
    """Give a repository another name, or with NAMESPACE/ all of a namespace.

    Nothing is copied. The old name is free at once: pulls of it find nothing. Roles and access
    tokens for a pattern, and webhooks, do not follow.
    """
    confirm(f"Move {old} to {new}? Who pulls it by the old name finds nothing.", yes=yes)
    done = desk.ask("POST", "/moves", body={"old": old, "new": new, "force": force})
    count = len(done["repositories"])
    what = (
        f"{old} is {new}" if "/" in done["old"] else f"{count:,} repositories are {done['new']}/…"
    )
    desk.out.done(f"{what} from now on.", done)


def _set_visibility(desk: CommandContext, name: str, to: Visibility, word: str) -> None:
    path, query = f"/visibility/{segment(name)}", {"create": "1"}
    desk.ask("PUT", path, query=query, body={"visibility": to.value})
    told = {"name": name, "public": to is Visibility.PUBLIC, "visibility": to.value}
    desk.out.done(f"{name} is {word}", told)


def _path(name: str) -> str:
    return f"/repositories/{segment(name)}"


def _listed(one: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": one["name"],
        "public": one["public"],
        "visibility": one["visibility"],
        "read_only": one["read_only"],
        "created": one["created"],
        "size": one["bytes"],
        "blobs": one["blobs"],
        "tags": one["tags"],
        "pushed": one["pushed"],
    }

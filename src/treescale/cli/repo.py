"""`treescale repo`: repositories, what they hold and what that takes."""

from functools import partial

import click

from treescale.auth.roles import Visibility
from treescale.cli.reference import tags_of, unknown
from treescale.cli.repo_restore import deleted, restore
from treescale.cli.repo_rules import explain, rules
from treescale.cli.reports.repo_show import BLOBS, PLACES, TAGS, Shown, look
from treescale.cli.terminal.actor import cli_actor
from treescale.cli.terminal.command_group import CommandGroup
from treescale.cli.terminal.options import CommandContext, cluster_options, confirm
from treescale.errors import ManifestUnknown, NameUnknown
from treescale.lease_times import OFF, ON
from treescale.maintenance.report.columns import Column, Kind, Row, time
from treescale.metadata.database import Database
from treescale.metadata.records import RepositoryUsage
from treescale.metadata.usage.figures import RepositoryFigures, Usage
from treescale.oci.image_reference import ImageReference, parse_reference
from treescale.oci.names import check_namespace, check_repository
from treescale.registry.organisations import OrganisationService

PAGE_SIZE = 500
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


@click.group(cls=CommandGroup)
def repo() -> None:
    """Repositories. They come into being when something is pushed to them."""


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
    found = desk.run(_repositories)
    if order == "size":
        found.sort(key=lambda one: -one.bytes)
    elif order == "pushed":
        found.sort(key=lambda one: -(one.pushed or 0.0))
    desk.out.rows(LISTED, [_listed(one) for one in found])


@repo.command("show", short_help="Show its tags, its size, what chunks save and where they lie.")
@click.argument("name", metavar="NAME[:TAG]")
@cluster_options
def show(desk: CommandContext, name: str) -> None:
    """Show a repository's tags and blobs, what deduplication saves, and where chunks belong.

    With a tag, that image alone is looked at.
    """
    repository, _, tag = name.partition(":")
    check_repository(repository)

    async def work(database: Database) -> tuple[Row, Shown]:
        usage = await database.repositories.usage(repository)
        why = await database.read_only.why(repository)
        return _usage_row(usage, why), await look(database, repository, tag or None)

    summary, seen = desk.run(work)
    if desk.out.as_json:
        desk.out.one(SUMMARY, {**summary, **seen.as_json()})
        return
    desk.out.one(SUMMARY, summary)
    desk.out.rows(TAGS, seen.tags)
    desk.out.rows(BLOBS, seen.blobs)
    if seen.placement_report:
        desk.out.rows(PLACES, seen.placement_report, "place")
    for note in seen.notes:
        desk.out.note(note)


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

    async def work(database: Database) -> None:
        switches = database.read_only
        put = switches.set_repository if is_repository else switches.set_namespace
        await put(name, read_only=is_on, actor=cli_actor())

    desk.run(work)
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
    if wanted.tag is not None:
        confirm(f"Delete the tag {wanted}?", yes=yes)
        desk.run(partial(_delete_tag, wanted))
        desk.out.done(f"{wanted} deleted", {"name": wanted.name, "tag": wanted.tag})
    elif wanted.digest is not None:
        tags = desk.run(partial(_tags_there, wanted))
        named = f" and its tags {', '.join(tags)}" if tags else ""
        confirm(f"Delete {wanted}{named}?", yes=yes)
        desk.run(partial(_delete_manifest, wanted))
        said = {"name": wanted.name, "digest": wanted.digest, "tags": tags}
        desk.out.done(f"{wanted} deleted{named}", said)
    else:
        confirm(f"Delete {wanted} with all its tags and manifests?", yes=yes)
        desk.run(partial(_delete_repository, wanted, force=force))
        desk.out.done(f"{wanted} deleted", {"name": wanted.name})


async def _delete_tag(wanted: ImageReference, database: Database) -> None:
    assert wanted.tag is not None
    try:
        await database.manifests.delete_tag(wanted.name, wanted.tag, actor=cli_actor())
    except ManifestUnknown:
        raise await unknown(database, wanted) from None


async def _tags_there(wanted: ImageReference, database: Database) -> list[str]:
    """Return the tags of a manifest that is there; raises as `unknown` says."""
    assert wanted.digest is not None
    try:
        await database.manifests.get(wanted.name, wanted.digest)
    except ManifestUnknown:
        raise await unknown(database, wanted) from None
    return await tags_of(database, wanted.name, wanted.digest)


async def _delete_manifest(wanted: ImageReference, database: Database) -> None:
    assert wanted.digest is not None
    await database.manifests.delete(wanted.name, wanted.digest, actor=cli_actor())


async def _delete_repository(wanted: ImageReference, database: Database, *, force: bool) -> None:
    try:
        await database.repositories.delete(wanted.name, actor=cli_actor(), force=force)
    except NameUnknown:
        raise await unknown(database, wanted) from None


def _set_visibility(desk: CommandContext, name: str, to: Visibility, word: str) -> None:
    async def work(database: Database) -> None:
        service = OrganisationService(database)
        await service.set_visibility(name, to.value, actor=cli_actor())

    desk.run(work)
    told = {"name": name, "public": to is Visibility.PUBLIC, "visibility": to.value}
    desk.out.done(f"{name} is {word}", told)


async def _repositories(database: Database) -> list[RepositoryFigures]:
    found: list[RepositoryFigures] = []
    while page := await Usage(database.connections).repositories(
        found[-1].name if found else "", PAGE_SIZE
    ):
        found += page
    return found


def _listed(one: RepositoryFigures) -> Row:
    return {
        "name": one.name,
        "public": one.public,
        "visibility": one.visibility,
        "read_only": one.read_only,
        "created": time(one.created),
        "size": one.bytes,
        "blobs": one.blobs,
        "tags": one.tags,
        "pushed": time(one.pushed),
    }


def _usage_row(usage: RepositoryUsage, read_only: str | None) -> Row:
    one = usage.repository
    return {
        "name": one.name,
        "public": one.public,
        "visibility": one.visibility,
        "read_only": read_only,
        "created": time(one.created),
        "tags": usage.tags,
        "manifests": usage.manifests,
        "blobs": usage.blobs,
        "pushed_bytes": usage.bytes_logical,
        "stored_bytes": usage.bytes_chunked,
        "deduplication_saved_bytes": usage.bytes_logical - usage.bytes_chunked,
        "shared_with_others_bytes": usage.bytes_chunked - usage.bytes_exclusive,
        "own_bytes": usage.bytes_exclusive,
    }

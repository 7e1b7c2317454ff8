"""`treescale repo`: repositories, what they hold and what that takes."""

from collections.abc import AsyncIterator

import click

from treescale.cli.nearest import Nearest
from treescale.cli.options import Desk, cluster_options, confirm
from treescale.cli.output import Column, Kind, Row, time
from treescale.cli.reposhow import BLOBS, PLACES, TAGS, Shown, look
from treescale.clock import SystemClock
from treescale.metadata.protocols import Database
from treescale.metadata.records import Repository, RepositoryUsage
from treescale.oci.names import check_repository

page_size = 500
LISTED = (Column("name"), Column("public", Kind.FLAG), Column("created", Kind.TIME))
SUMMARY = (
    Column("name"),
    Column("public", Kind.FLAG),
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


@click.group(cls=Nearest)
def repo() -> None:
    """Repositories. They come into being when something is pushed to them."""


@repo.command("list")
@cluster_options
def list_repositories(desk: Desk) -> None:
    """List all repositories."""

    async def work(database: Database) -> list[Row]:
        return [_row(one) async for one in _repositories(database)]

    desk.out.rows(LISTED, desk.run(work))


@repo.command("show", short_help="Show its tags, its size, what chunks save and where they lie.")
@click.argument("name", metavar="NAME[:TAG]")
@cluster_options
def show(desk: Desk, name: str) -> None:
    """Show a repository's tags and blobs, what deduplication saves, and where chunks belong.

    With a tag, that image alone is looked at.
    """
    repository, _, tag = name.partition(":")
    check_repository(repository)

    async def work(database: Database) -> tuple[Row, Shown]:
        usage = await database.repositories.usage(repository)
        return _usage_row(usage), await look(database, repository, tag or None)

    summary, seen = desk.run(work)
    if desk.out.as_json:
        desk.out.one(SUMMARY, {**summary, **seen.as_json()})
        return
    desk.out.one(SUMMARY, summary)
    desk.out.rows(TAGS, seen.tags)
    desk.out.rows(BLOBS, seen.blobs)
    if seen.places:
        desk.out.rows(PLACES, seen.places, "place")
    for note in seen.notes:
        desk.out.note(note)


@repo.command("public")
@click.argument("name")
@cluster_options
def public(desk: Desk, name: str) -> None:
    """Let everybody pull it, without logging in."""
    _set_public(desk, name, public=True)


@repo.command("private")
@click.argument("name")
@cluster_options
def private(desk: Desk, name: str) -> None:
    """Let nobody but its owner pull it."""
    _set_public(desk, name, public=False)


@repo.command("delete")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@cluster_options
def delete(desk: Desk, name: str, *, yes: bool) -> None:
    """Delete a repository with all its tags and manifests."""
    check_repository(name)
    confirm(f"Delete {name} with all its tags and manifests?", yes=yes)

    async def work(database: Database) -> None:
        await database.repositories.delete(name)

    desk.run(work)
    desk.out.done(f"{name} deleted", {"name": name})


def _set_public(desk: Desk, name: str, *, public: bool) -> None:
    check_repository(name)

    async def work(database: Database) -> None:
        await database.repositories.set_public(name, public=public, now=SystemClock().now())

    desk.run(work)
    word = "public: everybody may pull it" if public else "private"
    desk.out.done(f"{name} is {word}", {"name": name, "public": public})


async def _repositories(database: Database) -> AsyncIterator[Repository]:
    after = ""
    while page := await database.repositories.list_all(after, page_size):
        for one in page:
            yield one
        after = page[-1].name


def _row(one: Repository) -> Row:
    return {"name": one.name, "public": one.public, "created": time(one.created)}


def _usage_row(usage: RepositoryUsage) -> Row:
    return {
        **_row(usage.repository),
        "tags": usage.tags,
        "manifests": usage.manifests,
        "blobs": usage.blobs,
        "pushed_bytes": usage.bytes_logical,
        "stored_bytes": usage.bytes_chunked,
        "deduplication_saved_bytes": usage.bytes_logical - usage.bytes_chunked,
        "shared_with_others_bytes": usage.bytes_chunked - usage.bytes_exclusive,
        "own_bytes": usage.bytes_exclusive,
    }

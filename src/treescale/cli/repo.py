"""`treescale repo`: repositories, what they hold and what that takes."""

from collections.abc import AsyncIterator

import click

from treescale.cli.options import Desk, cluster_options, confirm
from treescale.cli.output import Column, Kind, Row, time
from treescale.clock import SystemClock
from treescale.metadata.protocols import Database
from treescale.metadata.records import Blob, Repository, RepositoryUsage
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
TAGS = (Column("tag"), Column("digest"), Column("media_type"))
BLOBS = (Column("blob"), Column("size", Kind.BYTES), Column("kept_as"))


@click.group()
def repo() -> None:
    """Repositories. They come into being when something is pushed to them."""


@repo.command("list")
@cluster_options
def list_repositories(desk: Desk) -> None:
    """List all repositories."""

    async def work(database: Database) -> list[Row]:
        return [_row(one) async for one in _repositories(database)]

    desk.out.rows(LISTED, desk.run(work))


@repo.command("show")
@click.argument("name")
@cluster_options
def show(desk: Desk, name: str) -> None:
    """Show a repository's tags, manifests and blobs, and what deduplication saves."""
    check_repository(name)

    async def work(database: Database) -> tuple[Row, list[Row], list[Row]]:
        usage = await database.repositories.usage(name)
        tags = [row async for row in _tags(database, name)]
        blobs = [_blob_row(one) async for one in _blobs(database, name)]
        return _usage_row(usage), tags, blobs

    summary, tags, blobs = desk.run(work)
    if desk.out.as_json:
        desk.out.one(SUMMARY, {**summary, "tag_list": tags, "blob_list": blobs})
        return
    desk.out.one(SUMMARY, summary)
    desk.out.rows(TAGS, tags)
    desk.out.rows(BLOBS, blobs)


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


async def _tags(database: Database, repository: str) -> AsyncIterator[Row]:
    after = ""
    while page := await database.tags.list(repository, after, page_size):
        for tag in page:
            found = await database.manifests.resolve(repository, tag)
            yield {"tag": tag, "digest": found.digest, "media_type": found.media_type}
        after = page[-1]


async def _blobs(database: Database, repository: str) -> AsyncIterator[Blob]:
    after = ""
    while page := await database.blobs.list_repository(repository, after, page_size):
        for blob in page:
            yield blob
        after = page[-1].digest


def _row(one: Repository) -> Row:
    return {"name": one.name, "public": one.public, "created": time(one.created)}


def _blob_row(blob: Blob) -> Row:
    kept = "chunks" if blob.inline is None else "inline"
    return {"blob": blob.digest, "size": blob.size, "kept_as": kept}


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

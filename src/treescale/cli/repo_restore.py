"""`treescale repo deleted` and `repo restore`: what was deleted, and bringing it back."""

from typing import Final

import click

from treescale.cli.terminal.actor import cli_actor
from treescale.cli.terminal.options import CommandContext, cluster_options
from treescale.errors import RequestInvalid
from treescale.lease_times import COLLECTION_SETTING, LEASE_SETTING, lease_of
from treescale.maintenance.collection.state import Mode, mode_of
from treescale.maintenance.report.columns import Column, Kind, Row, time
from treescale.metadata.collection.undelete import Deleted, Undelete
from treescale.metadata.database import Database
from treescale.oci.image_reference import parse_reference
from treescale.oci.names import check_repository

LISTED_MAX: Final = 1000
DELETED: Final = (
    Column("name"),
    Column("tag"),
    Column("digest"),
    Column("deleted", Kind.TIME),
    Column("restorable_until", Kind.TIME),
    Column("space_back_by", Kind.TIME, empty="never: collection is off"),
)


@click.command("deleted", short_help="List what can be restored, and until when.")
@click.argument("namespace", required=False)
@cluster_options
def deleted(desk: CommandContext, namespace: str | None) -> None:
    """List what can be restored, until when, and when its space is back.

    Of repositories, tags and manifests the latest thousand each, by whatever client they were
    deleted. A manifest that has no tag any more is listed by its digest.
    """

    async def work(database: Database) -> tuple[list[Deleted], float | None]:
        listed = await Undelete(database.connections).list(namespace, LISTED_MAX)
        return listed, await _freed_after(database)

    listed, after = desk.run(work)
    desk.out.rows(DELETED, [_row(one, after) for one in listed])


@click.command("restore", short_help="Bring back what was deleted.")
@click.argument("reference", metavar="NAME[:TAG|@DIGEST]")
@click.option("--as", "to", metavar="NAME", help="Give a repository another name.")
@cluster_options
def restore(desk: CommandContext, reference: str, to: str | None) -> None:
    """Bring back a repository, a tag, or a manifest with its tags and all that is said of it.

    A tag points where it did when it was deleted last, and its image comes back with it, of an
    index with all its parts. Tags that point elsewhere by now stay there. Of an image that was
    pushed again meanwhile, NAME@DIGEST brings back what had gone with it. Once the time of
    `repo deleted` is over, nothing comes back.
    """
    wanted = parse_reference(reference)
    if to is not None:
        check_repository(to)
        if wanted.tag is not None or wanted.digest is not None:
            raise RequestInvalid("--as names a repository: restore NAME --as NAME")

    async def work(database: Database) -> tuple[str, ...]:
        undelete, actor = Undelete(database.connections), cli_actor()
        if wanted.tag is not None:
            return (await undelete.tag(wanted.name, wanted.tag, actor=actor)).missing
        if wanted.digest is not None:
            return (await undelete.manifest(wanted.name, wanted.digest, actor=actor)).missing
        await undelete.repository(wanted.name, to=to, actor=actor)
        return ()

    missing = desk.run(work)
    name = to or str(wanted)
    desk.out.done(f"{name} is there again", {"restored": name, "missing": list(missing)})
    for digest in missing:
        desk.out.note(f"It is not whole: push {digest} again, which it refers to.")


async def _freed_after(database: Database) -> float | None:
    """Return how long after that time the bytes are free at the latest, if nobody pushes them."""
    if mode_of(await database.settings.get(COLLECTION_SETTING)) is Mode.OFF:
        return None
    times = lease_of(await database.settings.get(LEASE_SETTING))
    return times.lease + times.look_every + times.trash


def _row(one: Deleted, after: float | None) -> Row:
    return {
        "name": one.repository,
        "tag": one.tag,
        "digest": one.digest,
        "deleted": time(one.deleted),
        "restorable_until": time(one.until),
        "space_back_by": None if after is None else time(one.until + after),
    }
